/** The button that brings in chats that were exported. */

import { chooseFiles } from "./buttons.js";
import { html } from "./html.js";

export const Import = ({ onFiles }) => html`<button type="button" class="link" onClick=${() => chooseFiles(onFiles, ".jsonl")}>Import a chat</button>`;
