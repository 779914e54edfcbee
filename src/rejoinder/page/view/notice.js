/** What went wrong with something that was asked for here, and what one can do about it. */

import { IconButton } from "./buttons.js";
import { html } from "./html.js";

const HELP = {
  session_busy: "A reply is still being written here, perhaps asked for in another tab.",
  queue_full: "Too many messages are waiting here already. Yours is back in the field.",
  payload_too_large: "The message is too long for this server.",
  cannot_continue: "This model cannot go on from a text that broke off. Ask again instead.",
};

export const Notice = ({ chat }) => html`
  <div class="notice" role="alert">
    <p>${HELP[chat.notice.code] ?? pastLimit(chat) ?? chat.notice.message}</p>
    <${IconButton} icon="close" label="Close" onClick=${() => chat.tell(null)} />
  </div>
`;

/** Which limit a request went past, and by how much where it was a message, whose words are back in the field. */
function pastLimit({ notice, draft }) {
  const [error] = notice.body?.errors ?? [];
  if (error?.loc !== "body.content" || !draft.text) return error?.message;
  return `${error.message} It has ${new TextEncoder().encode(draft.text).length} now.`;
}
