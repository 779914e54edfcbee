/** Files that are dropped anywhere on the page are meant for the message; without this the browser would leave for them. */

import { html, useEffect, useState } from "./html.js";
import { listening } from "./listening.js";

export function Dropping({ onFiles }) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const files = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    const onDragOver = (event) => {
      if (!files(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const onDragLeave = ({ relatedTarget }) => !relatedTarget && setOver(false);
    const onDrop = (event) => {
      setOver(false);
      if (!files(event)) return;
      event.preventDefault();
      onFiles([...event.dataTransfer.files]);
    };
    return listening({ dragover: onDragOver, dragleave: onDragLeave, drop: onDrop });
  }, [onFiles]);
  return over && html`<div class="dropping">Drop pictures and files of text to attach them, or exported chats to import them</div>`;
}
