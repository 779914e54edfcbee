/** The page: the list beside the conversation, and what lies over them. */

import { IconButton } from "./buttons.js";
import { Composer } from "./composer.js";
import { Empty, isEmpty } from "./empty.js";
import { html, useEffect } from "./html.js";
import { icon } from "./icons.js";
import { Later } from "./later.js";
import { Notices } from "./notices.js";
import { Sidebar, useNarrow } from "./sidebar.js";
import { Thread } from "./thread.js";

export function App({ chat }) {
  const narrow = useNarrow();
  const sign = chat.unread?.sign ?? "";
  useEffect(() => {
    document.title = sign + (chat.title ? `${chat.title} – Rejoinder` : "Rejoinder");
  }, [chat.title, sign]);
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
        <${Later} name="Announcer" key=${chat.sessionId} conversation=${chat.conversation} last=${chat.conversation?.branch.at(-1)} />
      </main>
      ${chat.deletions.last && html`<${Later} name="Deleted" chat=${chat} />`}
      ${chat.over === "options" && html`<${Later} name="Options" chat=${chat} onClose=${close("options")} />`}
      ${chat.over === "help" && html`<${Later} name="Help" onClose=${close("help")} />`}
      <${Later} name="Back" open=${narrow && chat.menu} onBack=${() => chat.setMenu(false)} />
      <${Later} name="Dropping" chat=${chat} />
      <${Later} name="Keys" chat=${chat} />
      <${Later} name="Marks" chat=${chat} />
      <${Later} name="Pressed" />
    </div>
  `;
}

const Top = ({ chat }) => html`
  <header class="top">
    <${IconButton} icon="menu" label="Chats" class="menu" aria-expanded=${chat.menu} onClick=${() => chat.setMenu(true)} />
    <h1 dir="auto">${heading(chat)}</h1>
    <a class="button quiet narrow" href="#" aria-label="New chat" title="New chat">${icon("plus")}</a>
    ${chat.session && html`<a class="button quiet" href=${`/v1/sessions/${chat.sessionId}/export`} download aria-label="Export this chat" title="Export this chat">${icon("export")}</a>`}
    <${IconButton} icon="sliders" label="Model and instructions" onClick=${() => chat.set({ over: "options" })} />
    <${IconButton} icon="keys" label="Keys" class="wide" onClick=${() => chat.set({ over: "help" })} />
  </header>
`;

function heading({ conversation, session, title }) {
  if (!conversation) return "New chat";
  return title || (session && !session.head ? "Untitled chat" : ""); // until it is known how it begins
}

const Conversation = ({ chat }) => html`
  <${Thread} key=${chat.sessionId} messages=${chat.shown} pending=${chat.pending} asked=${chat.steering.asked} stopping=${chat.conversation.history?.stopping ?? []}
    loadingOlder=${chat.conversation.loadingOlder} onTop=${() => chat.try(() => chat.conversation.loadOlder())}
    steering=${chat.steering} models=${chat.models} editing=${chat.editing} onEdit=${chat.edit} target=${chat.target} onTarget=${() => chat.set({ target: null })} />
`;
