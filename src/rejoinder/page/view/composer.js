/** Where one writes. Enter sends, Shift and Enter make a new line; while a reply is written the button stops it. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { icon } from "./icons.js";

export function Composer({ chat }) {
  const area = useRef();
  const [hint, setHint] = useState("");
  const running = chat.conversation?.running;
  const stopping = running && chat.conversation.history.stopping.includes(running.id);

  useEffect(() => {
    // On a phone the keyboard would cover half of what one came to read.
    if (matchMedia("(hover: hover)").matches) area.current.focus();
  }, [chat.sessionId]);
  useEffect(() => setHint(""), [running?.id, chat.sessionId]);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [chat.draft]);

  const send = () => {
    if (!chat.draft.trim()) return;
    if (chat.busy) setHint("A reply is still being written. Stop it, or send this when it is done.");
    else {
      const text = chat.draft;
      chat.setDraft("");
      chat.send(text);
    }
  };
  const stop = () => {
    chat.stop();
    area.current.focus({ preventScroll: true }); // the button is about to go, and the focus with it
  };
  const onKeyDown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return html`
    <div class="composer">
      <div class="field">
        <textarea ref=${area} rows="1" dir="auto" value=${chat.draft} placeholder="Write a message" aria-label="Message"
          enterkeyhint="send" onInput=${(event) => chat.setDraft(event.target.value)} onKeyDown=${onKeyDown} />
        ${running
          ? html`<button type="button" class="round stop" onClick=${stop} disabled=${stopping} aria-label="Stop" title="Stop">${icon("stop")}</button>`
          : html`<button type="button" class="round" onClick=${send} disabled=${chat.busy || !chat.draft.trim()} aria-label="Send" title="Send">${icon("up")}</button>`}
      </div>
      <p class="hint" role="status">${hint || aboutModel(chat)}</p>
    </div>
  `;
}

function aboutModel(chat) {
  const named = chat.conversation?.history?.session?.model;
  const model = (Array.isArray(named) ? named[0] : named) ?? chat.models.find((one) => one.default)?.id ?? "";
  if (model.split(":")[0] === "local") return "You are talking to a tiny demo model: quick, polite and often wrong.";
  return model && `You are talking to ${model}.`;
}
