/** The keys, and what they do. */

import { Dialog } from "./dialog.js";
import { html } from "./html.js";
import { KEYS, MAC } from "./keys.js";

export const Help = ({ onClose }) => html`
  <${Dialog} title="Keys" onClose=${onClose}>
    <dl class="keys">
      ${KEYS.map(({ shown, does }) => html`<div key=${shown}><dt>${shown.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${does}</dd></div>`)}
    </dl>
    ${MAC && html`<p class="note">Alt is ⌥. While you write it goes with Ctrl (⌃ ⌥), since alone it writes signs.</p>`}
  <//>
`;
