/** The button that brings in chats that were exported. */

import { html, useRef } from "./html.js";

export function Import({ onFiles }) {
  const input = useRef();
  const onChange = ({ target }) => {
    onFiles([...target.files]);
    target.value = "";
  };
  return html`
    <button type="button" class="link" onClick=${() => input.current.click()}>Import a chat</button>
    <input ref=${input} type="file" hidden multiple accept=".jsonl" aria-label="Exported chats" onChange=${onChange} />
  `;
}
