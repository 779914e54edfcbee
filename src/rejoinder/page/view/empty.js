/** What stands in the middle where there is no conversation to show, and what one can do then. */

import { html } from "./html.js";

export function Empty({ chat }) {
  const { conversation } = chat;
  if (!conversation) return html`<${Welcome} chat=${chat} />`;
  if (chat.missing) {
    return html`<div class="empty"><h2>This chat is not here</h2><p>It may have been deleted, or belong to another server. What you write below begins a new one.</p></div>`;
  }
  if (conversation.phase === "failed") {
    return html`<div class="empty"><h2>This chat cannot be shown</h2><p>${conversation.problem.message}</p><button type="button" onClick=${() => location.reload()}>Try again</button></div>`;
  }
  if (conversation.phase === "loading") return html`<div class="empty late"><p>Fetching the chat…</p></div>`;
  return html`<div class="empty"><h2>Nothing has been said here yet</h2><p>Write the first message below.</p></div>`;
}

/** Whether there is nothing but this to show. */
export function isEmpty({ conversation, missing, pending, shown }) {
  return !conversation || missing || conversation.phase === "failed" || (!shown.length && !pending.length);
}

const IDEAS = [
  "Tell me a story about a lighthouse keeper.",
  "Explain how a hash table works, with an example in Python.",
  "Help me plan a weekend without screens.",
];

const Welcome = ({ chat }) => html`
  <div class="empty">
    <h2>What shall we talk about?</h2>
    <p>A reply goes on when you close the tab, and it is here when you come back.</p>
    <ul class="ideas">
      ${IDEAS.map((idea) => html`<li key=${idea}><button type="button" onClick=${(event) => take(chat, idea, event)}>${idea}</button></li>`)}
    </ul>
  </div>
`;

/** Puts an idea into the field, behind what was written there, and the cursor behind it. */
function take(chat, idea, { currentTarget }) {
  chat.setDraft({ text: [chat.draft.text, idea].filter(Boolean).join("\n\n") });
  currentTarget.closest("main").querySelector("textarea").focus();
}
