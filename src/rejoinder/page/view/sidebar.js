/** What stands beside the conversation: the way to a new one, the search, and the list. */

import { html, useEffect, useState } from "./html.js";
import { icon } from "./icons.js";
import { Later } from "./later.js";
import { List } from "./list.js";

export function Sidebar({ chat }) {
  const narrow = useNarrow();
  return html`
    <nav class="sidebar" aria-label="Chats" inert=${narrow && !chat.menu}>
      <header>
        <span class="brand">Rejoinder</span>
        <a class="button" href="#" title="New chat (Alt N)" onClick=${() => chat.setMenu(false)}>${icon("plus")} New chat</a>
      </header>
      <input type="search" class="search" dir="auto" value=${chat.search.text} placeholder="Search" aria-label="Search in all chats" title="Search in all chats (Alt K)"
        onInput=${({ target }) => chat.search.set(target.value)} onKeyDown=${(event) => onSearchKey(chat, event)} />
      ${chat.search.text.trim()
        ? html`<div class="list"><${Later} name="Found" chat=${chat} /></div>`
        : html`<${List} chat=${chat} version=${chat.sessions.version} unread=${chat.unread?.version} open=${chat.sessionId} row=${narrow ? 2.75 : 2.25} />`}
      <footer><a href="/docs">HTTP interface</a><${Later} name="Import" onFiles=${chat.import} /></footer>
    </nav>
  `;
}

function onSearchKey(chat, event) {
  if (event.key !== "Escape" || !chat.search.text) return;
  event.preventDefault(); // it stops no reply
  chat.search.set("");
}

/** Whether the list lies over the conversation instead of beside it. */
export function useNarrow() {
  const [narrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const changed = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", changed);
    return () => NARROW.removeEventListener("change", changed);
  }, []);
  return narrow;
}

const NARROW = matchMedia("(max-width: 50rem)");
