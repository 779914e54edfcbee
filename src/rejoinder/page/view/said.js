/** What a person said, as it is, with its pictures; it can be copied and said in other words. */

import { contentOf, draftOf } from "../state/steering.js";
import { CopyButton, IconButton, Siblings } from "./buttons.js";
import { Dialog } from "./dialog.js";
import { html, useLayoutEffect, useRef, useState } from "./html.js";

/** `note` stands under a message that is on its way. */
export function Said({ message, note, steering, onEdit }) {
  const { text, pictures } = draftOf(message.content);
  return html`
    <article class=${note ? "message user pending" : "message user"} data-message=${message.id} aria-label="You" tabindex="-1">
      ${pictures.length > 0 && html`<div class="pictures">${pictures.map((url) => html`<${Picture} url=${url} />`)}</div>`}
      ${text && html`<div class="said" dir="auto">${text}</div>`}
      ${note
        ? html`<p class="note">${note}</p>`
        : html`<footer>
            <${Siblings} message=${message} onShow=${(id) => steering.show(id)} />
            ${text && html`<${CopyButton} text=${text} />`}
            <${IconButton} icon="pencil" label="Edit" onClick=${() => onEdit(message.id)} />
          </footer>`}
    </article>
  `;
}

/** To fetch a picture from elsewhere would tell its host who reads what. */
function Picture({ url }) {
  const [large, setLarge] = useState(false);
  if (!/^data:image\//i.test(url)) return /^https?:/i.test(url) && html`<a href=${url} target="_blank" rel="noopener noreferrer">🖼 ${url}</a>`;
  return html`
    <button type="button" class="picture" aria-label="Enlarge the picture" onClick=${() => setLarge(true)}><img src=${url} alt="Attached picture" /></button>
    ${large && html`<${Dialog} title="Picture" class="bare" onClose=${() => setLarge(false)}><img src=${url} alt="Attached picture" /><//>`}
  `;
}

/** The message in a field. Enter asks the same in these words, Escape leaves all as it was. */
export function Editor({ message, steering, onDone }) {
  const area = useRef();
  const draft = draftOf(message.content);
  const [text, setText] = useState(draft.text);
  useLayoutEffect(() => {
    area.current.focus();
    area.current.setSelectionRange(text.length, text.length);
  }, []);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);
  const send = () => {
    if (!text.trim() && !draft.pictures.length) return;
    onDone(null);
    steering.edit(message, contentOf({ ...draft, text }));
  };
  const onKeyDown = (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      onDone(null);
    }
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    }
  };
  return html`
    <article class="message user editor" data-message=${message.id} aria-label="You">
      <textarea ref=${area} rows="1" dir="auto" aria-label="Edit the message" value=${text} onInput=${({ target }) => setText(target.value)} onKeyDown=${onKeyDown} />
      <div class="actions">
        <span class="note">What was answered before is kept beside it.</span>
        <button type="button" onClick=${() => onDone(null)}>Cancel</button>
        <button type="button" class="primary" onClick=${send} disabled=${!text.trim() && !draft.pictures.length}>Send</button>
      </div>
    </article>
  `;
}
