/** What has to be said between the conversation and the field: the line is down, something failed. */

import { IconButton } from "./buttons.js";
import { html } from "./html.js";

export const Notices = ({ chat }) => html`
  <${Line} chat=${chat} />
  ${chat.notice && html`<${Notice} problem=${chat.notice} onClose=${() => chat.tell(null)} />`}
`;

/** Says when the line is down, and that nothing is lost by it. */
function Line({ chat }) {
  const { conversation } = chat;
  if (!navigator.onLine) return html`<p class="line" role="status">You are offline. What you write is kept, and replies go on at the server.</p>`;
  if (conversation?.line !== "waiting") return null;
  return html`<p class="line" role="status">The connection is lost. Trying again…${conversation.running && " Nothing that was written is lost."}</p>`;
}

const HELP = {
  session_busy: "A reply is still being written here, perhaps asked for in another tab.",
  queue_full: "Too many messages are waiting here already. Yours is back in the field.",
  payload_too_large: "The message is too long for this server.",
  cannot_continue: "This model cannot go on from a text that broke off. Ask again instead.",
};

const Notice = ({ problem, onClose }) => html`
  <div class="notice" role="alert">
    <p>${HELP[problem.code] ?? problem.message}</p>
    <${IconButton} icon="close" label="Close" onClick=${onClose} />
  </div>
`;
