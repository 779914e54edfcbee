/**
 * Which sessions had a reply end where nobody saw it. All tabs of a browser keep by seq what has ended and what was seen:
 * so it does not matter which of them hears of an end first, and a chat that is read in one is read in all.
 */

import { ends, seen } from "./kept.js";

export class Unread {
  #chat;
  #changed;
  sign = ""; // what stands before the title while the open one is unread
  version = 0; // another one whenever a mark may have changed

  constructor(chat, changed) {
    this.#chat = chat;
    this.#changed = () => {
      this.version++;
      changed();
    };
    addEventListener("storage", () => this.#changed());
    document.addEventListener("visibilitychange", () => this.see());
  }

  has(id) {
    return ends.of(id) > (seen.of(id) ?? 0);
  }

  /** Takes in an event of the overview. */
  apply({ type, data }) {
    const id = data.session_id;
    if (type === "session.deleted") for (const shelf of [ends, seen]) shelf.drop(id);
    if (type !== "message.ended") return;
    ends.keep(id, data.seq);
    if (document.hidden && id === this.#chat.sessionId && !this.sign) {
      this.sign = "● ";
      document.title = this.sign + document.title; // a tab that nobody sees is not drawn, but its title is read
    }
    this.see();
    this.#changed();
  }

  /** The open session is looked at. */
  see() {
    const id = this.#chat.sessionId;
    if (document.hidden || !id || !(this.sign || this.has(id))) return;
    this.sign = "";
    seen.keep(id, ends.of(id));
    this.#changed();
  }
}
