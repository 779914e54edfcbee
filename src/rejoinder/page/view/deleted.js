/** What was deleted and can be brought back. It lies where one deletes, also while the list lies over the conversation. */

import { IconButton } from "./buttons.js";
import { html } from "./html.js";

export const Deleted = ({ chat }) => html`
  <div class="toast" role="status">
    <p>Deleted “${chat.deletions.last.title || "Untitled chat"}”</p>
    <button type="button" class="small" title="Undo (Alt Z)" onClick=${() => chat.undoDelete()}>Undo</button>
    <${IconButton} icon="close" label="Delete it now" onClick=${() => chat.deletions.settle()} />
  </div>
`;
