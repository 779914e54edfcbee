/**
 * A message of one's own in a field, to ask the same in other words. Escape leaves all as it was; whoever only looks at
 * something else finds those words again.
 */

import { unfolded } from "../state/files.js";
import { drafts } from "../state/kept.js";
import { contentOf, draftOf } from "../state/steering.js";
import { Attached } from "./attached.js";
import { breaksLine, composes } from "./composes.js";
import { writeOn } from "./field.js";
import { html, useLayoutEffect, useRef, useState } from "./html.js";

export function Editor({ message, steering, onDone }) {
  const area = useRef();
  const [said] = useState(() => unfolded(draftOf(message.content)));
  const [text, setText] = useState(drafts.of(message.id).text || said.text);
  const [attached, setAttached] = useState(said.attached);
  const something = text.trim() || attached.length > 0;
  const write = (text) => {
    setText(text);
    drafts.keep(message.id, { text });
  };
  const leave = () => {
    drafts.keep(message.id, { text: "" });
    onDone(null);
  };
  useLayoutEffect(() => {
    area.current.focus();
    area.current.setSelectionRange(text.length, text.length);
  }, []);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);
  const send = async () => {
    if (!something) return;
    onDone(null);
    writeOn();
    if (await steering.edit(message, contentOf({ text, attached }))) drafts.keep(message.id, { text: "" });
  };
  const onKeyDown = (event) => {
    if (composes(event)) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      leave();
    }
    if (event.key === "Enter" && !breaksLine(event)) {
      event.preventDefault();
      send();
    }
  };
  return html`
    <article class="message user editor" data-message=${message.id} aria-label="You">
      ${attached.length > 0 && html`<${Attached} attached=${attached} onChange=${setAttached} />`}
      <textarea ref=${area} rows="1" dir="auto" aria-label="Edit the message" value=${text} onInput=${({ target }) => write(target.value)} onKeyDown=${onKeyDown} />
      <div class="actions">
        <span class="note">What was answered before is kept beside it.</span>
        <button type="button" onClick=${leave}>Cancel</button>
        <button type="button" class="primary" onClick=${send} disabled=${!something}>Send</button>
      </div>
    </article>
  `;
}
