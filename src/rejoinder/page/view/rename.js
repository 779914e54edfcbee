/** The name of a session in a field. Enter and leaving the field keep it, Escape does not. The two keys give the focus back. */

import { html, useEffect, useRef } from "./html.js";

export function Rename({ title, hint, onDone }) {
  const field = useRef();
  const over = useRef(false);
  useEffect(() => field.current.select(), []);
  const end = (name, byKey) => {
    if (over.current) return; // the field loses its focus once more when it goes
    over.current = true;
    onDone(name, byKey);
  };
  const onKeyDown = ({ key, target, isComposing }) => {
    if (isComposing) return;
    if (key === "Enter") end(target.value, true);
    if (key === "Escape") end(null, true);
  };
  return html`<input ref=${field} value=${title} placeholder=${hint} dir="auto" maxlength="512" aria-label="Name of the chat" onKeyDown=${onKeyDown} onBlur=${({ target }) => end(target.value, false)} />`;
}
