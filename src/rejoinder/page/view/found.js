/** What a search found: chats that are called so, and messages with the words around those that were looked for. */

import { html, useEffect } from "./html.js";
import { wordsOf } from "./notice.js";

export function Found({ chat }) {
  const { session } = chat;
  const { found, sessions, more, problem } = chat.search;
  useEffect(() => {
    const named = (found ?? []).map(({ session_id: id, session_title: title, message }) => ({ id, title, head: message.id }));
    chat.sessions.show([...(session ? [session] : []), ...sessions, ...named]); // the one that is open has its heading
  }, [found, sessions, session?.id]);
  if (problem) return html`<p class="note" role="alert">Nothing can be found: ${wordsOf(problem)}</p>`;
  if (!found) return html`<p class="note" role="status">Searching…</p>`;
  return html`
    <p class="unseen" role="status">${found.length + sessions.length} found</p>
    ${!found.length && !sessions.length && html`<p class="note">No chat has these words. Beginnings of words are enough.</p>`}
    <ul class="found">
      ${sessions.map((session) => html`
        <li key=${session.id}>
          <a href=${`#${session.id}`} onClick=${() => chat.setMenu(false)}><strong dir="auto">${chat.sessions.titleOf(session) || "Untitled chat"}</strong></a>
        </li>`)}
      ${found.map(({ session_id, session_title, message, snippet, matches }) => html`
        <li key=${message.id}>
          <a href=${`#${session_id}`} onClick=${(event) => here(event) && chat.open(session_id, message.id)}>
            <strong dir="auto">${chat.sessions.titleOf({ id: session_id, title: session_title }) || "…"}</strong>
            <span dir="auto">${marked(snippet, matches)}</span>
          </a>
        </li>`)}
    </ul>
    ${more && html`<p class="note"><button type="button" class="link" onClick=${() => chat.search.findMore()}>Find more</button></p>`}
  `;
}

/** Whether a click opens a link in this tab. */
export const here = ({ ctrlKey, metaKey, shiftKey }) => !(ctrlKey || metaKey || shiftKey);

/** The snippet with its words marked. The places count code points. */
function marked(snippet, matches) {
  const signs = [...snippet];
  const parts = [];
  let place = 0;
  for (const [from, to] of matches) {
    parts.push(signs.slice(place, from).join(""), html`<mark>${signs.slice(from, to).join("")}</mark>`);
    place = to;
  }
  return [...parts, signs.slice(place).join("")];
}
