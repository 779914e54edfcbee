/** One message: what someone said, or a reply with everything that there is to know about it. */

import { copy } from "../text/copy.js";
import { html, memo, useState } from "./html.js";
import { icon } from "./icons.js";
import { Markdown } from "./markdown.js";

/** `again` asks once more what this reply did not answer to its end. */
export const Message = memo(({ message, stopping, again }) =>
  message.role === "user"
    ? html`<article class="message user" aria-label="You"><${Said} content=${message.content} /></article>`
    : message.role === "assistant"
      ? html`<${Reply} message=${message} stopping=${stopping} again=${again} />`
      : html`<details class="aside"><summary>${message.role === "tool" ? "What a tool answered" : "System"}</summary>
          <pre>${textOf(message.content)}</pre></details>`,
);

/** A message that the server has not taken yet. */
export const Pending = ({ send }) => html`
  <article class="message user pending" aria-label="You">
    <div class="said" dir="auto">${send.content}</div>
    <p class="note">${send.problem ? "The server cannot be reached. It will be sent again…" : "Sending…"}</p>
  </article>
`;

function Said({ content }) {
  if (typeof content === "string") return html`<div class="said" dir="auto">${content}</div>`;
  return html`<div class="said" dir="auto">${content.map((part) => (part.type === "text" ? html`<p>${part.text}</p>` : html`<${Picture} url=${part.image_url.url} />`))}</div>`;
}

/** To fetch a picture from elsewhere would tell its host who reads what. */
const Picture = ({ url }) =>
  url.startsWith("data:image/")
    ? html`<img src=${url} alt="A picture in this message" />`
    : /^https?:/i.test(url) && html`<a href=${url} target="_blank" rel="noopener noreferrer">🖼 ${url}</a>`;

function Reply({ message, stopping, again }) {
  const { content, reasoning, tool_calls, status } = message;
  const live = status === "streaming" || status === "queued";
  return html`
    <article class="message reply" aria-label="Reply" aria-busy=${live}>
      ${reasoning && html`<${Reasoning} text=${reasoning} live=${live && !content} done=${!live} />`}
      <${Markdown} text=${content} done=${!live} />
      ${tool_calls.map((call, place) => html`<${ToolCall} key=${place} call=${call} />`)}
      ${live && html`<p class="writing"><span class="dots" aria-hidden="true"><i /><i /><i /></span>${stopping ? "Stopping…" : status === "queued" ? "Waiting for its turn" : ""}</p>`}
      <${End} message=${message} again=${again} />
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

const ADVICE = {
  content_filtered: "Try it in other words.",
  context_overflow: "Start a new chat, or send less at once.",
  upstream_auth: "Whoever runs this server should look at its key.",
  upstream_rate_limited: "Wait a little before you try again.",
  upstream_unavailable: "Whoever runs this server should look at the model's name and address.",
};

/** How a reply ended, where it did not simply come to its end. */
function End({ message: { status, error, content, finish_reason }, again }) {
  if (status === "completed" && finish_reason === "length") {
    return html`<div class="end" data-status="length"><p><strong>Cut short</strong> It reached the limit of its length.</p></div>`;
  }
  const end = ENDS[status];
  if (!end) return null;
  return html`
    <div class="end" data-status=${status}>
      <p>
        <strong>${end.name}</strong> ${error?.message} ${ADVICE[error?.code]} ${content ? end.kept : "Nothing had been written yet."}
        ${error && html` <code>${error.code}</code>`}
      </p>
      ${again && status !== "stopped" && html`<button type="button" onClick=${again}>Try again</button>`}
    </div>
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
