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
  const [draft, setDraft] = useState(() => begun(message, said));
  const { text, attached } = draft;
  const something = text.trim() || attached.length > 0;
  const change = (change) => {
    const changed = { ...draft, ...change };
    setDraft(changed);
    drafts.keep(message.id, { text: changed.text, attached: changed.attached.map((one) => said.attached.indexOf(one)) });
  };
  const drop = () => drafts.keep(message.id, { text: "", attached: [] });
  const leave = () => {
    drop();
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
    if (await steering.edit(message, contentOf(draft))) drop();
  };
  const onKeyDown = (event) => {
    if (composes(event)) return;
    if (event.key === "Escape") {
      event.stopPropagation(); // it stops no reply
      leave();
    }
    if (event.key === "Enter" && event.target === area.current && !breaksLine(event)) {
      event.preventDefault();
      send();
    }
  };
  return html`
    <article class="message user editor" data-message=${message.id} aria-label="You" onKeyDown=${onKeyDown}>
      ${attached.length > 0 && html`<${Attached} attached=${attached} onChange=${(attached) => change({ attached })} />`}
      <textarea ref=${area} rows="1" dir="auto" aria-label="Edit the message" value=${text} onInput=${({ target }) => change({ text: target.value })} />
      <div class="actions">
        <span class="note">What was answered before is kept beside it.</span>
        <button type="button" onClick=${leave}>Cancel</button>
        <button type="button" class="primary" onClick=${send} disabled=${!something}>Send</button>
      </div>
    </article>
  `;
}

/** The draft of an edit, or what was said where there is none. Of what is attached it tells the places, which need little room. */
function begun({ id }, said) {
  const { text, attached } = drafts.of(id);
  return text || attached.length ? { text, attached: attached.map((place) => said.attached[place]) } : said;
}
