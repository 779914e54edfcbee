/** What has to be said between the conversation and the field: the line is down, something failed. */

import { html } from "./html.js";
import { Later } from "./later.js";

export const Notices = ({ chat }) => html`
  <${Line} chat=${chat} />
  ${chat.notice && html`<${Later} name="Notice" chat=${chat} />`}
`;

/** Says when the line is down, and that nothing is lost by it. */
function Line({ chat }) {
  const { conversation } = chat;
  if (!navigator.onLine) return html`<p class="line" role="status">You are offline. What you write is kept, and replies go on at the server.</p>`;
  if (conversation?.line !== "waiting") return null;
  return html`<p class="line" role="status">The connection is lost. Trying again…${conversation.running && " Nothing that was written is lost."}</p>`;
}
