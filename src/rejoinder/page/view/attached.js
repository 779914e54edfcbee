/** What will go with the message: pictures, and files by their names. `onChange` hears what is left. */

import { nameOf } from "../state/files.js";
import { isFile } from "../state/steering.js";
import { IconButton } from "./buttons.js";
import { html } from "./html.js";

export function Attached({ attached, onChange }) {
  let pictures = 0;
  return html`
    <ul class="pictures attached" aria-label="Attachments">
      ${attached.map((one, place) => {
        const name = isFile(one) ? nameOf(one) : `Picture ${++pictures}`;
        return html`
          <li class=${isFile(one) && "file"}>
            ${isFile(one) ? html`<span title=${name} dir="auto">${name}</span>` : html`<img src=${one} alt=${name} />`}
            <${IconButton} icon="close" label=${`Remove ${name}`} onClick=${() => onChange(attached.toSpliced(place, 1))} />
          </li>`;
      })}
    </ul>
  `;
}
