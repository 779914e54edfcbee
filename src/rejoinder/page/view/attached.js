/** What will go with the message: pictures, and files by their names. `onChange` hears what is left. */

import { nameOf } from "../state/files.js";
import { isFile } from "../state/steering.js";
import { IconButton } from "./buttons.js";
import { hovers } from "./composes.js";
import { html } from "./html.js";

export function Attached({ attached, onChange }) {
  let pictures = 0;
  const remove = (place, { currentTarget }) => {
    // Behind the last one there is no button that the focus could go to.
    if (place === attached.length - 1 && hovers()) currentTarget.closest("ul").parentElement.querySelector("textarea").focus({ preventScroll: true });
    onChange(attached.toSpliced(place, 1));
  };
  return html`
    <ul class="pictures attached" aria-label="Attachments">
      ${attached.map((one, place) => {
        const name = isFile(one) ? nameOf(one) : `Picture ${++pictures}`;
        return html`
          <li class=${isFile(one) && "file"}>
            ${isFile(one) ? html`<span title=${name} dir="auto">${name}</span>` : html`<img src=${one} alt=${name} />`}
            <${IconButton} icon="close" label=${`Remove ${name}`} onClick=${(event) => remove(place, event)} />
          </li>`;
      })}
    </ul>
  `;
}
