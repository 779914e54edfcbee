/** A reply, with everything that there is to know about it: thoughts, text, calls of tools. */

import { CopyButton, IconButton, Siblings } from "./buttons.js";
import { html } from "./html.js";
import { Later } from "./later.js";
import { Markdown } from "./markdown.js";

export function Reply({ message, stopping, last, steering, models }) {
  const { content, reasoning, tool_calls, status, finish_reason } = message;
  const live = status === "streaming" || status === "queued";
  return html`
    <article class="message reply" data-message=${message.id} aria-label="Reply" aria-busy=${live} tabindex="-1">
      ${reasoning && html`<${Reasoning} text=${reasoning} live=${live && !content} done=${!live} />`}
      <${Markdown} text=${content} done=${!live} />
      ${tool_calls.map((call, place) => html`<${ToolCall} key=${place} call=${call} live=${live && place === tool_calls.length - 1} />`)}
      ${live && html`<${Writing} message=${message} stopping=${stopping} last=${last} steering=${steering} />`}
      ${!live && (status !== "completed" || finish_reason === "length") && html`<${Later} name="End" message=${message} last=${last} steering=${steering} models=${models} />`}
      ${!live && html`<${Foot} message=${message} steering=${steering} />`}
    </article>
  `;
}

const Reasoning = ({ text, live, done }) => html`
  <details class="aside">
    <summary>${live ? "Thinking…" : "Its thoughts"}</summary>
    <${Markdown} text=${text} done=${done} />
  </details>
`;

const ToolCall = ({ call, live }) => html`
  <details class="aside">
    <summary>${live ? "Calling" : "Calls"} <code>${call.function.name || "a tool"}</code></summary>
    <pre>${live ? call.function.arguments : readable(call.function.arguments)}</pre>
  </details>
`;

/** JSON with its lines broken, and anything else as the model wrote it. */
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const Writing = (properties) => html`
  <p class="writing">
    <span class="dots" aria-hidden="true"><i /><i /><i /></span>
    <${Later} name="Progress" ...${properties} />
  </p>
`;

function Foot({ message, steering }) {
  const { content, model, usage, created_at } = message;
  return html`
    <footer>
      <${Siblings} message=${message} onShow=${(id) => steering.show(id)} />
      ${content && html`<${CopyButton} text=${content} attempt=${steering.attempt} />`}
      <${IconButton} icon="again" label="Ask again" onClick=${() => steering.again(message)} />
      <${IconButton} icon="fork" label="Fork the chat here" onClick=${() => steering.fork(message)} />
      <span class="about" title=${new Date(created_at).toLocaleString()}>${model}${usage && tokensOf(usage)}</span>
    </footer>
  `;
}

const tokensOf = ({ source, output_tokens: number }) =>
  number > 0 && ` · ${source === "estimated" ? "about " : ""}${number} ${number === 1 ? "token" : "tokens"}`;
