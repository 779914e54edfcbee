/** How a reply ended that did not simply come to its end, and what one can do about it. */

import { html } from "./html.js";

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

export function End({ message, last, steering, models }) {
  const { status, error, content, tool_calls } = message;
  const short = status === "completed";
  const end = short ? { name: "Cut short", kept: "It reached the limit of its length." } : ENDS[status];
  const goesOn = models.find(({ id }) => id === message.model)?.prefill ?? true; // of a model that is not listed nobody knows
  return html`
    <div class="end" data-status=${short ? "length" : status}>
      <p>
        <strong>${end.name}</strong> ${error?.message} ${ADVICE[error?.code]} ${content ? end.kept : "Nothing had been written yet."}
        ${error && html` <code>${error.code}</code>`}
      </p>
      ${last && goesOn && content && !tool_calls.length && html`<button type="button" onClick=${() => steering.goOn(message)}>Continue</button>`}
      ${last && !short && html`<button type="button" onClick=${() => steering.again(message)}>Try again</button>`}
    </div>
  `;
}
