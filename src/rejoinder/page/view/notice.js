/** What went wrong with something that was asked for here, and what one can do about it. */

import { contentOf, draftOf } from "../state/steering.js";
import { IconButton } from "./buttons.js";
import { html } from "./html.js";

const HELP = {
  session_busy: "A reply is still being written here, perhaps asked for in another tab.",
  queue_full: "Too many messages are waiting here already. Yours is back in the field.",
  payload_too_large: "The message is too long for this server.",
  cannot_continue: "This model cannot go on from a text that broke off. Ask again instead.",
};

/** What a problem is, in words. A request that came to no answer has none but the browser's own. */
export function wordsOf(problem) {
  const unanswered = problem instanceof TypeError && /fetch|Load failed/.test(problem.message);
  if (unanswered || problem.name === "TimeoutError") return "The server cannot be reached.";
  return HELP[problem.code] ?? problem.body?.errors?.[0]?.message ?? problem.message;
}

export const Notice = ({ chat }) => html`
  <div class="notice" role="alert">
    <p>${pastLimit(chat) ?? wordsOf(chat.notice)}</p>
    <${IconButton} icon="close" label="Close" onClick=${() => chat.tell(null)} />
  </div>
`;

/** Which limit a message went past, whose words are back in the field, and by how much. */
function pastLimit({ notice, draft }) {
  const [error] = notice.body?.errors ?? [];
  const { text } = draftOf(contentOf(draft));
  if (error?.loc !== "body.content" || !text) return null;
  return `${error.message} It has ${new TextEncoder().encode(text).length} now.`;
}
