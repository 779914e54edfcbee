/** The pictures that will go with the message. */

import { IconButton } from "./buttons.js";
import { html } from "./html.js";

export const Attached = ({ chat, pictures }) => html`
  <ul class="pictures attached" aria-label="Attached pictures">
    ${pictures.map((url, place) => html`
      <li>
        <img src=${url} alt=${`Picture ${place + 1}`} />
        <${IconButton} icon="close" label=${`Remove picture ${place + 1}`} onClick=${() => chat.setDraft({ pictures: pictures.toSpliced(place, 1) })} />
      </li>`)}
  </ul>
`;
