/** One message: what someone said, or a reply with everything that there is to know about it. */

import { copy } from "../text/copy.js";
import { html, memo, useState } from "./html.js";
import { icon } from "./icons.js";
import { Markdown } from "./markdown.js";

export const Message = memo(({ message, stopping }) =>
  message.role === "user"
    ? html`<article class="message user" aria-label="You"><${Said} content=${message.content} /></article>`
    : message.role === "assistant"
      ? html`<${Reply} message=${message} stopping=${stopping} />`
      : html`<details class="aside"><summary>${message.role === "tool" ? "What a tool answered" : "System"}</summary>
          <pre>${textOf(message.content)}</pre></details>`,
);

/** A message that the server has not taken yet. */
export const Pending = ({ send }) => html`
  <article class="message user pending" aria-label="You">
    <div class="said">${send.content}</div>
    <p class="note">${send.problem ? "The server cannot be reached. It will be sent again…" : "Sending…"}</p>
  </article>
`;

function Said({ content }) {
  if (typeof content === "string") return html`<div class="said">${content}</div>`;
  return html`<div class="said">${content.map((part) => (part.type === "text" ? html`<p>${part.text}</p>` : html`<${Picture} url=${part.image_url.url} />`))}</div>`;
}

/** To fetch a picture from elsewhere would tell its host who reads what. */
const Picture = ({ url }) =>
  url.startsWith("data:image/")
    ? html`<img src=${url} alt="A picture in this message" />`
    : /^https?:/i.test(url) && html`<a href=${url} target="_blank" rel="noopener noreferrer">🖼 ${url}</a>`;

function Reply({ message, stopping }) {
  const { content, reasoning, tool_calls, status } = message;
  const live = status === "streaming" || status === "queued";
  return html`
    <article class="message reply" aria-label="Reply" aria-busy=${live}>
      ${reasoning && html`<${Reasoning} text=${reasoning} live=${live && !content} done=${!live} />`}
      <${Markdown} text=${content} done=${!live} />
      ${tool_calls.map((call, place) => html`<${ToolCall} key=${place} call=${call} />`)}
      ${live && html`<p class="writing">${stopping ? "Stopping" : status === "queued" ? "Waiting for its turn" : ""}<span class="dots" aria-hidden="true" /></p>`}
      <${End} message=${message} />
      ${!live && html`<${Foot} message=${message} />`}
    </article>
  `;
}

const Reasoning = ({ text, live, done }) => html`
  <details class="aside">
    <summary>${live ? "Thinking…" : "Its thoughts"}</summary>
    <${Markdown} text=${text} done=${done} />
  </details>
`;

const ToolCall = ({ call }) => html`
  <details class="aside">
    <summary>Calls <code>${call.function.name || "a tool"}</code></summary>
    <pre>${call.function.arguments}</pre>
  </details>
`;

const ENDS = {
  stopped: { name: "Stopped", kept: "What was written until then is kept." },
  failed: { name: "Failed", kept: "What was written until then is kept." },
  interrupted: { name: "Interrupted", kept: "What was written until then is kept; you can go on from here." },
};

/** How a reply ended, where it did not simply come to its end. */
function End({ message: { status, error, content, finish_reason } }) {
  if (status === "completed" && finish_reason === "length") {
    return html`<p class="end" data-status="length"><strong>Cut short</strong> It reached the limit of its length.</p>`;
  }
  const end = ENDS[status];
  if (!end) return null;
  return html`
    <p class="end" data-status=${status} role=${status === "failed" ? "alert" : undefined}>
      <strong>${end.name}</strong> ${error?.message} ${content ? end.kept : "Nothing had been written yet."}
      ${error && html` <code>${error.code}</code>`}
    </p>
  `;
}

function Foot({ message: { content, model, usage } }) {
  const [copied, setCopied] = useState(false);
  const press = async () => {
    await copy(content);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`
    <footer>
      ${content && html`<button type="button" class="quiet" onClick=${press}>${icon("copy")} ${copied ? "Copied" : "Copy"}</button>`}
      <span>${model}${usage && ` · ${usage.source === "estimated" ? "about " : ""}${usage.output_tokens} tokens`}</span>
    </footer>
  `;
}

const textOf = (content) => (typeof content === "string" ? content : JSON.stringify(content));
