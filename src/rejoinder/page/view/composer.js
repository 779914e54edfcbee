/**
 * Where one writes. Enter sends, Shift and Enter make a new line; where nothing but fingers writes, Enter makes one. While a
 * reply is written, what is sent waits for its end, or with Ctrl and Enter interrupts it. Files come by the button, by pasting, or by dropping them on the page.
 */

import { chooseFiles, IconButton } from "./buttons.js";
import { breaksLine, composes, hovers } from "./composes.js";
import { html, useEffect, useLayoutEffect, useRef } from "./html.js";
import { icon } from "./icons.js";
import { Later } from "./later.js";

export function Composer({ chat }) {
  const area = useRef();
  const running = chat.conversation?.running;
  const { text, attached } = chat.draft;
  const something = Boolean(text.trim() || attached.length);

  useEffect(() => {
    // On a phone the keyboard would cover half of what one came to read.
    if (hovers()) area.current.focus();
  }, [chat.sessionId]);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);

  const send = (busy) => {
    chat.send(busy);
    area.current.focus({ preventScroll: true }); // the button may be about to go, and the focus with it
  };
  const stop = () => {
    chat.steering.stop();
    area.current.focus({ preventScroll: true });
  };
  const onKeyDown = (event) => {
    if (composes(event)) return;
    if (event.key === "ArrowUp" && !event.currentTarget.value && !event.altKey) editLast(chat, event);
    if (event.key !== "Enter" || breaksLine(event)) return;
    event.preventDefault();
    send(event.ctrlKey || event.metaKey ? "interrupt" : "queue");
  };
  const attach = (files) => {
    chat.attach(files);
    if (hovers()) area.current.focus(); // what there is to say of them comes next
  };
  const onPaste = (event) => {
    const files = [...event.clipboardData.files];
    const is = (kind) => Boolean(event.clipboardData.getData(kind));
    // What comes from an office program brings a picture of its text along; a file may bring its name.
    if (!files.length || (is("text/plain") && is("text/html"))) return;
    event.preventDefault();
    attach(files);
  };
  return html`
    <div class="composer">
      <div class="field">
        ${attached.length > 0 && html`<${Later} name="Attached" attached=${attached} onChange=${(attached) => chat.setDraft({ attached })} />`}
        <${IconButton} icon="attach" label="Attach files" class="attach" onClick=${() => chooseFiles(attach)} />
        <textarea ref=${area} rows="1" dir="auto" value=${text} placeholder="Write a message" aria-label="Message"
          onInput=${({ target }) => chat.setDraft({ text: target.value })} onKeyDown=${onKeyDown} onPaste=${onPaste} />
        ${running && html`<${Stop} chat=${chat} running=${running} onClick=${stop} />`}
        ${(something || !running) && html`<button type="button" class="round" onClick=${() => send("queue")} disabled=${!something} aria-label=${running ? "Send next" : "Send"} title=${running ? "Send it when the reply is done" : "Send"}>${icon("up")}</button>`}
      </div>
      <${Hint} chat=${chat} waiting=${Boolean(running) && something} onInterrupt=${() => send("interrupt")} />
    </div>
  `;
}

function Stop({ chat, running, onClick }) {
  const stopping = chat.conversation.history.stopping.includes(running.id);
  return html`<button type="button" class="round stop" onClick=${onClick} disabled=${stopping} aria-label="Stop" title="Stop (Esc)">${icon("stop")}</button>`;
}

function Hint({ chat, waiting, onInterrupt }) {
  if (!waiting) return html`<p class="hint"><${AboutModel} chat=${chat} /></p>`;
  return html`<p class="hint">Sent when the reply is done, or <button type="button" class="link" onClick=${onInterrupt}>interrupt and send</button></p>`;
}

function AboutModel({ chat }) {
  const named = chat.options.model;
  const model = (Array.isArray(named) ? named[0] : named) ?? chat.models.find((one) => one.default)?.id ?? "";
  if (model.split(":")[0] === "local") return "You are talking to a tiny demo model: quick, polite and often wrong.";
  return model && html`You are talking to <button type="button" class="link" title="Model and instructions (Alt M)" onClick=${() => chat.set({ over: "options" })}>${model}</button>.`;
}

function editLast(chat, event) {
  const last = chat.shown.findLast(({ role }) => role === "user");
  if (!last) return;
  event.preventDefault();
  chat.set({ editing: last.id });
}
