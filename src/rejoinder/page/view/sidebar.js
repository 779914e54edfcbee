/** The list of sessions: newest activity first, in groups by day; each can be opened, renamed and deleted. */

import { Found } from "./found.js";
import { html, memo, useEffect, useRef, useState } from "./html.js";
import { icon } from "./icons.js";

export function Sidebar({ chat }) {
  const { sessions } = chat;
  return html`
    <nav class="sidebar" aria-label="Chats" inert=${useNarrow() && !chat.menu}>
      <header>
        <span class="brand">Rejoinder</span>
        <a class="button" href="#" title="New chat (Alt N)" onClick=${() => chat.setMenu(false)}>${icon("plus")} New chat</a>
      </header>
      <input type="search" class="search" value=${chat.search.text} placeholder="Search" aria-label="Search in all chats" title="Search in all chats (Alt K)"
        onInput=${({ target }) => chat.search.set(target.value)} onKeyDown=${(event) => onSearchKey(chat, event)} />
      <div class="list">
        ${chat.search.text.trim() ? html`<${Found} chat=${chat} />` : html`<${All} chat=${chat} />`}
      </div>
      <footer><a href="/docs">HTTP interface</a><${Import} onFiles=${chat.take} /></footer>
    </nav>
  `;
}

function onSearchKey(chat, event) {
  if (event.key !== "Escape" || !chat.search.text) return;
  event.preventDefault(); // it stops no reply
  chat.search.set("");
}

function Import({ onFiles }) {
  const input = useRef();
  const onChange = ({ target }) => {
    onFiles([...target.files]);
    target.value = "";
  };
  return html`
    <button type="button" class="link" onClick=${() => input.current.click()}>Import a chat</button>
    <input ref=${input} type="file" hidden multiple accept=".jsonl" aria-label="Exported chats" onChange=${onChange} />
  `;
}

function All({ chat }) {
  const { sessions } = chat;
  return html`
        <${List} chat=${chat} version=${sessions.version} open=${chat.sessionId} />
        ${sessions.failed && html`
          <div class="note" role="alert">
            <p>The list could not be fetched: ${sessions.failed.message}</p>
            <button type="button" onClick=${() => sessions.load()}>Try again</button>
          </div>`}
        ${sessions.loaded && !sessions.items.length && html`<p class="note">Your chats will be listed here.</p>`}
        ${sessions.hasMore && html`<${More} key=${sessions.items.length} onSeen=${() => sessions.more()} />`}
  `;
}

/** It may be thousands long: it is drawn again only when `version` says that something in it changed. */
const List = memo(({ chat, open }) => {
  const { sessions } = chat;
  return groups(sessions.items).map(([day, items]) => html`
    <section key=${day} aria-label=${day}>
      <h2>${day}</h2>
      <ul>
        ${items.map((session) => html`<${Item} key=${session.id} session=${session} title=${sessions.titleOf(session) || "Untitled chat"} open=${session.id === open} writing=${sessions.writes(session.id)} chat=${chat} />`)}
      </ul>
    </section>`);
});

const Item = memo(({ session, title, open, writing, chat }) => {
  const [renaming, setRenaming] = useState(false);
  const link = useRef();
  const refocus = useRef(false);
  useEffect(() => {
    if (refocus.current) link.current?.focus();
    refocus.current = false;
  }, [renaming]);
  if (renaming) return html`<li><${Rename} title=${session.title ?? ""} hint=${title} onDone=${done} /></li>`;
  function done(wanted, byKey) {
    refocus.current = byKey;
    setRenaming(false);
    if (wanted !== null && wanted.trim() !== (session.title ?? "")) chat.rename(session.id, wanted);
  }
  function remove({ currentTarget }) {
    const item = currentTarget.closest("li");
    const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("a");
    (next ?? document.querySelector(".composer textarea")).focus({ preventScroll: true });
    chat.delete(session);
  }
  return html`
    <li>
      <a ref=${link} href=${`#${session.id}`} title=${title} aria-current=${open ? "page" : undefined} onClick=${() => chat.setMenu(false)}>${title}${writing && html`<span class="mark" role="img" aria-label="A reply is being written" />`}</a>
      <button type="button" class="quiet" aria-label=${`Rename ${title}`} title="Rename" onClick=${() => setRenaming(true)}>${icon("pencil")}</button>
      <button type="button" class="quiet" aria-label=${`Delete ${title}`} title="Delete" onClick=${remove}>${icon("trash")}</button>
    </li>
  `;
});

/** Enter and leaving the field keep the name, Escape does not. The two keys give the focus back. */
function Rename({ title, hint, onDone }) {
  const field = useRef();
  const over = useRef(false);
  useEffect(() => field.current.select(), []);
  const end = (name, byKey) => {
    if (over.current) return; // the field loses its focus once more when it goes
    over.current = true;
    onDone(name, byKey);
  };
  const onKeyDown = ({ key, target, isComposing }) => {
    if (isComposing) return;
    if (key === "Enter") end(target.value, true);
    if (key === "Escape") end(null, true);
  };
  return html`<input ref=${field} value=${title} placeholder=${hint} maxlength="512" aria-label="Name of the chat" onKeyDown=${onKeyDown} onBlur=${({ target }) => end(target.value, false)} />`;
}

/** Fetches the next page when it comes into view. */
function More({ onSeen }) {
  const place = useRef();
  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && onSeen());
    seen.observe(place.current);
    return () => seen.disconnect();
  }, []);
  return html`<p ref=${place} class="note">Fetching more…</p>`;
}

/** `[day, sessions]` in the order of the list. */
function groups(items) {
  const today = new Date().setHours(0, 0, 0, 0);
  const names = new Map();
  for (const item of items) {
    const name = dayOf(new Date(item.updated_at), today);
    names.set(name, [...(names.get(name) ?? []), item]);
  }
  return [...names];
}

const DAY = 24 * 60 * 60 * 1000;

function dayOf(time, today) {
  if (time >= today) return "Today";
  if (time >= today - DAY) return "Yesterday";
  if (time >= today - 7 * DAY) return "Last seven days";
  return time.toLocaleDateString(undefined, { month: "long", year: "numeric" });
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
