/** A reply, with everything that there is to know about it: thoughts, text, calls of tools, how it ended. */

import { brokeOff } from "../state/steering.js";
import { CopyButton, IconButton, Siblings } from "./buttons.js";
import { html } from "./html.js";
import { Later } from "./later.js";
import { Markdown } from "./markdown.js";

export function Reply({ message, stopping, last, steering }) {
  const { content, reasoning, tool_calls, status } = message;
  const live = status === "streaming" || status === "queued";
  return html`
    <article class="message reply" data-message=${message.id} aria-label="Reply" aria-busy=${live} tabindex="-1">
      ${reasoning && html`<${Reasoning} text=${reasoning} live=${live && !content} done=${!live} />`}
      <${Markdown} text=${content} done=${!live} />
      ${tool_calls.map((call, place) => html`<${ToolCall} key=${place} call=${call} live=${live && place === tool_calls.length - 1} />`)}
      ${live && html`<${Writing} message=${message} stopping=${stopping} last=${last} steering=${steering} />`}
      <${End} message=${message} last=${last} steering=${steering} />
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

const ENDS = {
  stopped: { name: "Stopped", kept: "What was written until then is kept." },
  failed: { name: "Failed", kept: "What was written until then is kept." },
  interrupted: { name: "Interrupted", kept: "What was written until then is kept." },
};

const ADVICE = {
  content_filtered: "Try it in other words.",
  context_overflow: "Start a new chat, or send less at once.",
  upstream_auth: "Whoever runs this server should look at its key.",
  upstream_rate_limited: "Wait a little before you try again.",
  upstream_unavailable: "Whoever runs this server should look at the model's name and address.",
};

/** How a reply ended, where it did not simply come to its end, and what one can do about it. */
function End({ message, last, steering }) {
  const { status, error, content, finish_reason } = message;
  const short = status === "completed" && finish_reason === "length";
  const end = short ? { name: "Cut short", kept: "It reached the limit of its length." } : ENDS[status];
  if (!end) return null;
  return html`
    <div class="end" data-status=${short ? "length" : status}>
      <p>
        <strong>${end.name}</strong> ${error?.message} ${ADVICE[error?.code]} ${content ? end.kept : "Nothing had been written yet."}
        ${error && html` <code>${error.code}</code>`}
      </p>
      ${last && brokeOff(message) && html`<button type="button" onClick=${() => steering.goOn(message)}>Continue</button>`}
      ${last && !short && html`<button type="button" onClick=${() => steering.again(message)}>Try again</button>`}
    </div>
  `;
}

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
