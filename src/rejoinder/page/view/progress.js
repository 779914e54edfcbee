/** What a reply that is being written is waiting for. Beside dots alone one cannot tell whether anything still happens. */

import { html, useEffect, useState } from "./html.js";

/** Milliseconds without a word after which the seconds are told. */
const LONG = 5000;

export function Progress({ message, stopping, last, steering }) {
  const silence = useSilence(message);
  const seconds = steering.down ? 0 : silence; // nobody knows what the model does
  if (stopping) return "Stopping…";
  if (message.status === "queued") return html`Waiting for its turn <${Queued} message=${message} last=${last} steering=${steering} />`;
  const begun = message.content || message.reasoning || message.tool_calls.length;
  const again = !begun && message.attempts.length > 1;
  return html`
    ${again ? "The model is busy. Trying again…" : seconds > 0 && "Waiting for the model…"}
    ${seconds > 0 && html`<span class="seconds">${seconds} s</span>`}
  `;
}

function Queued({ message, last, steering }) {
  const takeBack = async ({ currentTarget }) => {
    const field = currentTarget.closest("main").querySelector(".composer textarea");
    if (await steering.takeBack(message)) field.focus({ preventScroll: true });
  };
  return last
    ? html`<button type="button" class="small" onClick=${takeBack}>Take back</button>`
    : html`<button type="button" class="small" title="Go on without a reply to this" onClick=${() => steering.stop(message)}>Skip</button>`;
}

/** Seconds since a message changed, once they are many; else 0. */
function useSilence(message) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const began = performance.now();
    setSeconds(0);
    const timer = setInterval(() => {
      const silent = performance.now() - began;
      if (silent >= LONG) setSeconds(Math.floor(silent / 1000));
    }, 1000);
    return () => clearInterval(timer);
  }, [message]);
  return seconds;
}
