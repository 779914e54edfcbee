/** The small buttons that stand under messages and elsewhere. */

import { html, useState } from "./html.js";
import { icon } from "./icons.js";

export const IconButton = ({ icon: name, label, class: classes = "", ...rest }) =>
  html`<button type="button" class=${`quiet ${classes}`} aria-label=${label} title=${label} ...${rest}>${icon(name)}</button>`;

const chooser = Object.assign(document.createElement("input"), { type: "file", multiple: true, hidden: true });

/** Lets one choose files. Safari tells of them only where the field is a part of the page. */
export function chooseFiles(onFiles, accept = "") {
  document.body.append(chooser);
  Object.assign(chooser, { accept, value: "", onchange: () => onFiles([...chooser.files]) }).click();
}

/** `attempt` does what may fail, and tells of it then. */
export function CopyButton({ text, attempt }) {
  const [copied, setCopied] = useState(false);
  const press = async () => {
    if (!(await attempt(async () => (await import("../text/copy.js")).copy(text)))) return;
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<${IconButton} icon=${copied ? "check" : "copy"} label=${copied ? "Copied" : "Copy"} class="copy-message" onClick=${press} />`;
}

/** Which of the messages with the same parent this is, and the way to its neighbours. */
export function Siblings({ message: { id, siblings }, onShow }) {
  if (siblings.length < 2) return null;
  const place = siblings.indexOf(id);
  const neighbour = (step, name, label) =>
    html`<${IconButton} icon=${name} label=${label} disabled=${!siblings[place + step]} onClick=${() => onShow(siblings[place + step])} />`;
  return html`
    <span class="siblings" role="group" aria-label="Versions">
      ${neighbour(-1, "left", "Previous version")}
      <span aria-label=${`Version ${place + 1} of ${siblings.length}`} role="img">${place + 1}/${siblings.length}</span>
      ${neighbour(1, "right", "Next version")}
    </span>
  `;
}
