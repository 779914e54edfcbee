/**
 * What lies over the page: the focus goes in, cannot leave, and returns where it was; Escape and a press beside it close it.
 * One in which something is `unsaved` is closed by its buttons alone.
 */

import { IconButton } from "./buttons.js";
import { composes } from "./composes.js";
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
    if (event.key !== "Escape" || composes(event)) return;
    event.preventDefault();
    if (!unsaved) close();
  };
  const onCancel = (event) => unsaved && event.preventDefault(); // a phone's way back
  const onDown = ({ target }) => (pressed.current = target);
  // Whoever draws a selection out of a field and lets go beside the dialog has pressed inside.
  const onClick = ({ target }) => target === dialog.current && pressed.current === target && !unsaved && close();
  return html`
    <dialog ref=${dialog} class=${classes} aria-label=${title} onClose=${onClose} onKeyDown=${onKeyDown} onCancel=${onCancel} onPointerDown=${onDown} onClick=${onClick}>
      <div class="inside">
        <header><h2>${title}</h2><${IconButton} icon="close" label="Close" onClick=${close} /></header>
        ${children}
      </div>
    </dialog>
  `;
}
