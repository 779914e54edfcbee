/** What a person said, as it is, with its pictures and files; it can be copied and said in other words. */

import { draftOf } from "../state/steering.js";
import { CopyButton, IconButton, Siblings } from "./buttons.js";
import { html, useState } from "./html.js";
import { Later } from "./later.js";

/** `note` stands under a message that is on its way, which `onCancel` gives up. */
export function Said({ message, note, steering, onEdit, onCancel }) {
  const { text, attached: pictures } = draftOf(message.content);
  return html`
    <article class=${note ? "message user pending" : "message user"} data-message=${message.id} aria-label="You" tabindex="-1">
      ${pictures.length > 0 && html`<div class="pictures">${pictures.map((url) => html`<${Picture} url=${url} />`)}</div>`}
      ${text && html`<${Words} text=${text} />`}
      ${note
        ? html`<${Note} note=${note} onCancel=${onCancel} />`
        : html`<footer>
            <${Siblings} message=${message} onShow=${(id) => steering.show(id)} />
            ${text && html`<${CopyButton} text=${text} attempt=${steering.attempt} />`}
            <${IconButton} icon="pencil" label="Edit" onClick=${() => onEdit(message.id)} />
          </footer>`}
    </article>
  `;
}

export const Note = ({ note, onCancel }) =>
  html`<p class="note">${note}${onCancel && html` <button type="button" class="link" onClick=${onCancel}>Cancel</button>`}</p>`;

/** Characters and lines above which only a beginning is shown at first, of some twelve lines. */
const LONG = 1200;
const LINES = 14;

const isLong = (text) => text.length > LONG || text.split("\n", LINES + 1).length > LINES;

/** What may be folded away, a long text and the files behind it, is folded by what comes late. */
function Words({ text }) {
  const beginning = html`<div class=${isLong(text) ? "said beginning" : "said"} dir="auto">${text}</div>`;
  return isLong(text) || text.endsWith("```") ? html`<${Later} name="Folded" text=${text} isLong=${isLong} instead=${beginning} />` : beginning;
}

/** To fetch a picture from elsewhere would tell its host who reads what. */
function Picture({ url }) {
  const [large, setLarge] = useState(false);
  if (!/^data:image\//i.test(url)) return /^https?:/i.test(url) && html`<a href=${url} target="_blank" rel="noopener noreferrer">🖼 ${url}</a>`;
  return html`
    <button type="button" class="picture" aria-label="Enlarge the picture" onClick=${() => setLarge(true)}><img src=${url} alt="Attached picture" /></button>
    ${large && html`<${Later} name="Enlarged" url=${url} onClose=${() => setLarge(false)} />`}
  `;
}
