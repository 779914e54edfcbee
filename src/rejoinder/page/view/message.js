/** One message of a conversation: what someone said, a reply, or what a tool or the system put in. */

import { html, memo } from "./html.js";
import { Later } from "./later.js";
import { Reply } from "./reply.js";
import { Note, Said } from "./said.js";

/** `steering` does what its buttons say; `called` is the name of the tool whose answer it is. */
export const Message = memo(({ message, stopping, last, steering, models, editing, onEdit, called }) => {
  if (message.role === "assistant") return html`<${Reply} message=${message} stopping=${stopping} last=${last} steering=${steering} models=${models} />`;
  if (message.role !== "user") return html`<${Aside} message=${message} called=${called} />`;
  const said = html`<${Said} message=${message} steering=${steering} onEdit=${onEdit} />`;
  return editing ? html`<${Later} name="Editor" instead=${said} message=${message} steering=${steering} onDone=${onEdit} />` : said;
});

const Aside = ({ message: { id, role, content }, called }) => html`
  <article class="message" data-message=${id} aria-label=${role === "tool" ? "Answer of a tool" : "System"} tabindex="-1">
    <details class="aside">
      <summary>${role === "tool" ? html`<code>${called || "A tool"}</code> answered` : "System"}</summary>
      <pre>${content}</pre>
    </details>
  </article>
`;

/** What the server has not taken yet. */
export const Pending = ({ ask, steering }) => {
  const { how, fields, problem } = ask;
  const note = problem ? "The server cannot be reached. It will be sent again…" : how === "messages" ? "Sending…" : "Asking…";
  const onCancel = problem && (() => steering.cancel(ask));
  if (how === "messages") return html`<${Said} message=${{ content: fields.content, siblings: [] }} note=${note} onCancel=${onCancel} />`;
  return html`<article class="message reply pending" aria-label="Reply" aria-busy="true" tabindex="-1"><${Note} note=${note} onCancel=${onCancel} /></article>`;
};
