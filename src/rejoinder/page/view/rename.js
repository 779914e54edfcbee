/** The name of a session in a field. Enter and leaving the field keep it, Escape does not. The two keys give the focus back. What is typed stays, whatever happens to the session. */

import { composes } from "./composes.js";
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
  const onKeyDown = (event) => {
    const { key, target } = event;
    if (composes(event) || !["Enter", "Escape"].includes(key)) return;
    event.preventDefault(); // it stops no reply
    end(key === "Enter" ? target.value : null, true);
  };
  return html`<input ref=${field} defaultValue=${title} placeholder=${hint} dir="auto" maxlength="512" aria-label="Name of the chat" onKeyDown=${onKeyDown} onBlur=${({ target }) => end(target.value, false)} />`;
}
