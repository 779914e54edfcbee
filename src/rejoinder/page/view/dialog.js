/**
 * What lies over the page: the focus goes in, cannot leave, and returns where it was; Escape and a press beside it close it.
 * One in which something is `unsaved` stays where the press was beside it.
 */

import { IconButton } from "./buttons.js";
import { html, useEffect, useRef } from "./html.js";

export function Dialog({ title, class: classes, unsaved, onClose, children }) {
  const dialog = useRef();
  const pressed = useRef();
  useEffect(() => {
    dialog.current.showModal();
    dialog.current.querySelector("[data-first]")?.focus();
  }, []);
  const close = () => dialog.current.close();
  // Chromium's own Escape asks for a recent action of the user, which may have been spent.
  const onKeyDown = (event) => {
    event.stopPropagation();
    if (event.key === "Escape") close();
  };
  const onDown = ({ target }) => (pressed.current = target);
  // Whoever draws a selection out of a field and lets go beside the dialog has pressed inside.
  const onClick = ({ target }) => target === dialog.current && pressed.current === target && !unsaved && close();
  return html`
    <dialog ref=${dialog} class=${classes} aria-label=${title} onClose=${onClose} onKeyDown=${onKeyDown} onPointerDown=${onDown} onClick=${onClick}>
      <div class="inside">
        <header><h2>${title}</h2><${IconButton} icon="close" label="Close" onClick=${close} /></header>
        ${children}
      </div>
    </dialog>
  `;
}
