/** What someone said at length: its beginning, with a button for the rest, and the files behind it by their names. */

import { insideOf, nameOf, unfolded } from "../state/files.js";
import { Code } from "./code.js";
import { html, useState } from "./html.js";

/** `isLong` tells of a text whether only its beginning is shown at first. */
export function Folded({ text: sent, isLong }) {
  const [all, setAll] = useState(false);
  const { text, attached } = unfolded({ text: sent, attached: [] });
  const long = isLong(text);
  return html`
    ${text && html`<div class=${long && !all ? "said beginning" : "said"} dir="auto">${text}</div>`}
    ${long && html`<button type="button" class="link" aria-expanded=${all} onClick=${() => setAll(!all)}>${all ? "Show less" : "Show all"}</button>`}
    ${attached.map((block, place) => html`<${File} key=${place} block=${block} />`)}
  `;
}

function File({ block }) {
  const [{ language, text }] = useState(() => insideOf(block));
  const [open, setOpen] = useState(false);
  return html`
    <details class="file" onToggle=${({ target }) => setOpen(target.open)}>
      <summary dir="auto">${nameOf(block)} <small>${sizeOf(text)}</small></summary>
      ${open && html`<${Code} block=${{ token: { lang: language, text } }} />`}
    </details>
  `;
}

function sizeOf(text) {
  const lines = text.split("\n").length;
  return lines === 1 ? "1 line" : `${lines} lines`;
}
