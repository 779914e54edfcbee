/** The page: the list beside the conversation, and what lies over them. */

import { exportOf } from "../state/moving.js";
import { Announcer } from "./announcer.js";
import { IconButton } from "./buttons.js";
import { Composer } from "./composer.js";
import { Dropping } from "./dropping.js";
import { Empty, isEmpty } from "./empty.js";
import { html, useEffect } from "./html.js";
import { icon } from "./icons.js";
import { Help, onKeyDown } from "./keys.js";
import { Notices } from "./notices.js";
import { Options } from "./options.js";
import { Sidebar, useNarrow } from "./sidebar.js";
import { Thread } from "./thread.js";

export function App({ chat }) {
  const narrow = useNarrow();
  useEffect(() => {
    document.title = chat.title ? `${chat.title} – Rejoinder` : "Rejoinder";
  }, [chat.title]);
  useEffect(() => {
    const listener = (event) => onKeyDown(chat, event);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
  // A dialog tells that it is closed a moment later, and by then another may have been opened.
  const close = (name) => () => chat.over === name && chat.set({ over: null });
  return html`
    <div class=${chat.menu ? "frame with-menu" : "frame"}>
      <${Sidebar} chat=${chat} />
      <div class="scrim" onClick=${() => chat.setMenu(false)} />
      <main inert=${narrow && chat.menu}>
        <${Top} chat=${chat} />
        ${isEmpty(chat) ? html`<${Empty} chat=${chat} />` : html`<${Conversation} chat=${chat} />`}
        <${Notices} chat=${chat} />
        <${Composer} chat=${chat} />
        <${Announcer} key=${chat.sessionId} conversation=${chat.conversation} last=${chat.conversation?.branch.at(-1)} />
      </main>
      ${chat.over === "options" && html`<${Options} chat=${chat} onClose=${close("options")} />`}
      ${chat.over === "help" && html`<${Help} onClose=${close("help")} />`}
      <${Dropping} onFiles=${chat.take} />
    </div>
  `;
}

const Top = ({ chat }) => html`
  <header class="top">
    <${IconButton} icon="menu" label="Chats" class="menu" aria-expanded=${chat.menu} onClick=${() => chat.setMenu(true)} />
    <h1>${heading(chat)}</h1>
    ${chat.session && html`<a class="button quiet" href=${exportOf(chat.sessionId)} download aria-label="Export this chat" title="Export this chat">${icon("export")}</a>`}
    <${IconButton} icon="sliders" label="Model and instructions" onClick=${() => chat.set({ over: "options" })} />
    <${IconButton} icon="keys" label="Keys" class="wide" onClick=${() => chat.set({ over: "help" })} />
  </header>
`;

function heading(chat) {
  if (!chat.conversation) return "New chat";
  return chat.missing ? "" : chat.title || "Untitled chat";
}

const Conversation = ({ chat }) => html`
  <${Thread} key=${chat.sessionId} messages=${chat.shown} pending=${chat.pending} stopping=${chat.conversation.history?.stopping ?? []}
    loadingOlder=${chat.conversation.loadingOlder} onTop=${() => chat.try(() => chat.conversation.loadOlder())}
    steering=${chat.steering} editing=${chat.editing} onEdit=${chat.edit} target=${chat.target} onTarget=${() => chat.set({ target: null })} />
`;
