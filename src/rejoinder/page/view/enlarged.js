/** A picture of a message, as large as the window allows. */

import { Dialog } from "./dialog.js";
import { html } from "./html.js";

export const Enlarged = ({ url, onClose }) => html`<${Dialog} title="Picture" class="bare" onClose=${onClose}><img src=${url} alt="Attached picture" /><//>`;
