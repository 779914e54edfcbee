/** What a search found: where it was said, and the words around it. */

import { html } from "./html.js";

export function Found({ chat }) {
  const { found, problem } = chat.search;
  if (problem) return html`<p class="note" role="alert">The search failed: ${problem.message}</p>`;
  if (!found) return html`<p class="note" role="status">Searching…</p>`;
  return html`
    <p class="unseen" role="status">${found.length} found</p>
    ${!found.length && html`<p class="note">No message has these words.</p>`}
    <ul class="found">
      ${found.map(({ session_id, session_title, message, snippet, matches }) => html`
        <li key=${message.id}>
          <a href=${`#${session_id}`} onClick=${() => chat.open(session_id, message.id)}>
            <strong>${session_title || "Untitled chat"}</strong>
            <span>${marked(snippet, matches)}</span>
          </a>
        </li>`)}
    </ul>
  `;
}

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
