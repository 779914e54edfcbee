/**
 * Files that are dropped anywhere on the page are meant for the message, but for exported chats; without this the browser
 * would leave for them.
 */

import { writeOn } from "./field.js";
import { html, useEffect, useState } from "./html.js";
import { listening } from "./listening.js";

/** How the file of a chat begins. */
const CHAT = '{"rejoinder":';

export function Dropping({ chat }) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const files = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    const onDragOver = (event) => {
      if (!files(event)) return;
      event.preventDefault();
      setOver(true);
    };
    let entered; // what they go to is entered before what they come from is left
    const onDragEnter = ({ target }) => (entered = target);
    const onDragLeave = ({ target }) => target === entered && setOver(false);
    const onDrop = (event) => {
      setOver(false);
      if (!files(event)) return;
      event.preventDefault();
      take(chat, [...event.dataTransfer.files]);
    };
    return listening({ dragenter: onDragEnter, dragover: onDragOver, dragleave: onDragLeave, drop: onDrop });
  }, []);
  return over && html`<div class="dropping">Drop pictures and files of text to attach them, or exported chats to import them</div>`;
}

async function take(chat, files) {
  const begins = await Promise.all(files.map((file) => file.slice(0, CHAT.length).text().catch(() => null)));
  const others = files.filter((_, place) => begins[place] !== CHAT);
  if (others.length) {
    writeOn();
    await chat.attach(others);
  }
  if (others.length < files.length) await chat.import(files.filter((file) => !others.includes(file)));
}
