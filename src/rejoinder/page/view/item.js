/** A session of the list: it can be opened, renamed and deleted. */

import { html, memo, useEffect, useRef, useState } from "./html.js";
import { icon } from "./icons.js";
import { Later } from "./later.js";

/** `title` is empty where nobody has named it and its first message is not here; `place` is its place among the `of` sessions of its day. */
export const Item = memo(({ session, title: given, open, writing, unread, place, of, chat }) => {
  const title = given || (session.head ? "…" : "Untitled chat"); // until it is known how it begins
  const [renaming, setRenaming] = useState(false);
  const link = useRef();
  const refocus = useRef(false);
  useEffect(() => {
    if (refocus.current) link.current?.focus();
    refocus.current = false;
  }, [renaming]);
  function done(wanted, byKey) {
    refocus.current = byKey;
    setRenaming(false);
    if (wanted !== null && wanted.trim() !== (session.title ?? "")) chat.rename(session.id, wanted);
  }
  function remove({ currentTarget }) {
    const item = currentTarget.closest("li");
    const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("a");
    (next ?? document.querySelector(".composer textarea")).focus({ preventScroll: true });
    chat.delete(session);
  }
  return html`
    <li data-session=${session.id} style=${{ "--place": place }} aria-posinset=${place + 1} aria-setsize=${of}>
      ${renaming
        ? html`<${Later} name="Rename" title=${session.title ?? ""} hint=${title} onDone=${done} />`
        : html`
          <a ref=${link} href=${`#${session.id}`} title=${title} dir="auto" aria-current=${open ? "page" : undefined} onClick=${() => chat.setMenu(false)}>${title}${writing && html`<span class="mark" role="img" aria-label="A reply is being written" />`}${unread && !writing && html`<span class="mark still" role="img" aria-label="A new reply" />`}</a>
          <button type="button" class="quiet" aria-label=${`Rename ${title}`} title="Rename" onClick=${() => setRenaming(true)}>${icon("pencil")}</button>
          <button type="button" class="quiet" aria-label=${`Delete ${title}`} title="Delete" onClick=${remove}>${icon("trash")}</button>`}
    </li>
  `;
});
