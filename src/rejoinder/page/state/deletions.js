/**
 * Sessions that are about to be deleted. The server deletes for good, so it is asked only when the time to undo is over:
 * after a while, when the page goes, or at its next life where it could not be asked then.
 */

import { doomed } from "./kept.js";

/** Milliseconds in which one may think again, and after which another life of the page may take it that nobody will. */
const UNDO = 8_000;
const OVERDUE = 2 * UNDO;

export class Deletions {
  #client;
  #changed;
  #timers = new Map(); // by session
  #deleted;
  last = null; // the session that can be brought back: `{id, title}`

  /** `deleted` hears of each session that is gone, or that the server would not delete and why. */
  constructor(client, changed, deleted) {
    [this.#client, this.#changed, this.#deleted] = [client, changed, deleted];
    addEventListener("pagehide", () => this.#flush());
  }

  /** Takes up what an earlier life of this page left. Returns the ids. */
  resume() {
    const left = doomed.all().filter(({ overdue }) => overdue < Date.now());
    for (const { id } of left) this.#delete(id);
    return left.map(({ id }) => id);
  }

  add(session) {
    this.settle(); // one at a time can be undone
    doomed.keep(session.id, { id: session.id, overdue: Date.now() + OVERDUE });
    this.#timers.set(session.id, setTimeout(() => this.settle(), UNDO));
    this.last = session;
    this.#changed();
  }

  /** Brings back the last one. Returns it. */
  undo() {
    const session = this.last;
    clearTimeout(this.#timers.get(session.id));
    this.#timers.delete(session.id);
    doomed.drop(session.id);
    this.last = null;
    this.#changed();
    return session;
  }

  /** A session is there again, as from a file: what an earlier deletion left is not for it. */
  spare(id) {
    doomed.drop(id);
  }

  /** Deletes, without waiting any longer, what can still be undone. */
  settle() {
    const session = this.last;
    this.last = null;
    if (session) this.#delete(session.id);
  }

  async #delete(id) {
    clearTimeout(this.#timers.get(id));
    this.#timers.set(id, null);
    this.#changed();
    try {
      await this.#client.request("DELETE", `/v1/sessions/${id}`, { tries: 3 });
      doomed.drop(id);
      this.#deleted(id, null);
    } catch (problem) {
      if (problem.code && !problem.passing) doomed.drop(id);
      this.#deleted(id, problem.code === "session_not_found" ? null : problem);
    } finally {
      this.#timers.delete(id);
    }
  }

  /** The page goes, perhaps for good: what a request can do that outlives it. */
  #flush() {
    if (this.last) fetch(`/v1/sessions/${this.last.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}
