/** The page: the list beside the conversation, and what lies over them. */

import { Composer } from "./composer.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { icon } from "./icons.js";
import { Sidebar, useNarrow } from "./sidebar.js";
import { Thread } from "./thread.js";

export function App({ chat }) {
  const [doomed, setDoomed] = useState(null);
  const narrow = useNarrow();
  useEffect(() => {
    document.title = chat.title ? `${chat.title} – Rejoinder` : "Rejoinder";
  }, [chat.title]);
  return html`
    <div class=${chat.menu ? "frame with-menu" : "frame"}>
      <${Sidebar} chat=${chat} onDelete=${setDoomed} />
      <div class="scrim" onClick=${() => chat.setMenu(false)} />
      <main inert=${narrow && chat.menu}>
        <header class="top">
          <button type="button" class="quiet menu" aria-label="Chats" aria-expanded=${chat.menu} onClick=${() => chat.setMenu(true)}>${icon("menu")}</button>
          <h1>${heading(chat)}</h1>
        </header>
        <${Middle} chat=${chat} />
        <${Line} chat=${chat} />
        ${chat.notice && html`<${Notice} problem=${chat.notice} onClose=${() => chat.tell(null)} />`}
        <${Composer} chat=${chat} />
        <${Announcer} key=${chat.sessionId} conversation=${chat.conversation} last=${chat.conversation?.branch.at(-1)} />
      </main>
      ${doomed && html`<${Confirm} title=${chat.sessions.titleOf(doomed)} onClose=${() => setDoomed(null)} onYes=${() => chat.delete(doomed.id)} />`}
    </div>
  `;
}

function heading(chat) {
  if (!chat.conversation) return "New chat";
  return chat.missing ? "" : chat.title || "Untitled chat";
}

function Middle({ chat }) {
  const { conversation, pending } = chat;
  if (!conversation) return html`<${Welcome} chat=${chat} />`;
  if (chat.missing) {
    return html`<div class="empty"><h2>This chat is not here</h2><p>It may have been deleted, or belong to another server. What you write below begins a new one.</p></div>`;
  }
  if (conversation.phase === "failed") {
    return html`<div class="empty"><h2>This chat cannot be shown</h2><p>${conversation.problem.message}</p><button type="button" onClick=${() => location.reload()}>Try again</button></div>`;
  }
  if (conversation.phase === "loading" && !pending.length) return html`<div class="empty late"><p>Fetching the chat…</p></div>`;
  return html`
    <${Thread} key=${conversation.id} messages=${conversation.branch} pending=${pending} stopping=${conversation.history?.stopping ?? []}
      loadingOlder=${conversation.loadingOlder} onTop=${() => chat.try(() => conversation.loadOlder())} onAgain=${chat.again} />
  `;
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

/** Puts an idea into the field, and the cursor behind it. */
function take(chat, idea, { currentTarget }) {
  chat.setDraft(idea);
  currentTarget.closest("main").querySelector("textarea").focus();
}

/** Says when the line is down, and that nothing is lost by it. */
function Line({ chat }) {
  const { conversation } = chat;
  if (!navigator.onLine) return html`<p class="line" role="status">You are offline. What you write is kept, and replies go on at the server.</p>`;
  if (conversation?.line !== "waiting") return null;
  return html`<p class="line" role="status">The connection is lost. Trying again…${conversation.running && " Nothing that was written is lost."}</p>`;
}

const HELP = {
  session_busy: "A reply is still being written here, perhaps asked for in another tab. Your message is back in the field.",
  payload_too_large: "The message is too long for this server.",
};

const Notice = ({ problem, onClose }) => html`
  <div class="notice" role="alert">
    <p>${HELP[problem.code] ?? problem.message}</p>
    <button type="button" class="quiet" aria-label="Close" onClick=${onClose}>${icon("close")}</button>
  </div>
`;

/** Tells a screen reader that a reply has begun and how it ended, and not each of its words. */
function Announcer({ conversation, last }) {
  const opening = useRef(true);
  const [said, say] = useState("");
  const ready = conversation?.phase === "ready";
  useEffect(() => {
    if (!ready) return;
    // What had ended before the chat was opened is no news.
    const old = opening.current && !conversation.fresh && !conversation.running;
    opening.current = false;
    if (last?.role === "assistant" && !old) say(news(last));
  }, [ready, last?.id, last?.status]);
  return html`<p class="unseen" role="status">${said}</p>`;
}

function news({ status, content, error }) {
  if (status === "streaming" || status === "queued") return "A reply is being written.";
  return status === "completed" ? `The reply: ${content.slice(0, 400)}` : `The reply has ended: ${error?.message ?? status}`;
}

function Confirm({ title, onClose, onYes }) {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  // Chromium's own Escape asks for a recent action of the user, which may have been spent.
  const onKey = ({ key }) => key === "Escape" && dialog.current.close();
  const yes = () => {
    dialog.current.close();
    onYes();
  };
  return html`
    <dialog ref=${dialog} onClose=${onClose} onKeyDown=${onKey} aria-labelledby="confirm">
      <h2 id="confirm">Delete “${title || "Untitled chat"}”?</h2>
      <p>All its messages go with it, for good.</p>
      <div class="actions">
        <button type="button" onClick=${() => dialog.current.close()}>Keep it</button>
        <button type="button" class="danger" onClick=${yes}>Delete</button>
      </div>
    </dialog>
  `;
}
