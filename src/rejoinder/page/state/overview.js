/**
 * What happens in all sessions, for the list and its marks: one stream (`GET /v1/events`) for all tabs of a browser, which
 * has six connections to a server and no more. The tab that gets the lock reads the stream and passes on what comes; when
 * it goes, the browser gives the lock to another, whose connection begins with a snapshot, so that nothing is missed.
 */

import { granted } from "./lines.js";

const NAME = "rejoinder.overview";

export class Overview {
  #client;
  #told;
  #tabs = channel(NAME);
  #writing = new Map(); // by session with open replies: their ids; what a tab that comes later is told first
  #reads = null; // cuts the stream, where this tab holds it

  /** `told` hears each event, in every tab. */
  constructor(client, told) {
    [this.#client, this.#told] = [client, told];
    this.#tabs.onmessage = ({ data }) => {
      if (data === "taken") this.#reads?.abort();
      else if (data !== "new") this.#told(data);
      else if (this.#reads) this.#tabs.postMessage(this.#snapshot());
    };
  }

  async start() {
    this.#tabs.postMessage("new");
    if (await granted()) return this.#inTurn();
    // There the tab reads that one turned to last, or each that is seen where none hears of the others.
    addEventListener("focus", () => this.#take());
    if (this.#tabs.deaf) document.addEventListener("visibilitychange", () => (document.hidden ? this.#reads?.abort() : this.#take()));
    this.#take();
  }

  /** Reads while the lock is held. A page that one leaves and comes back to by the history may have lost it, or its place in the queue. */
  async #inTurn() {
    for (let reading; ; ) {
      try {
        return await navigator.locks.request(NAME, () => (reading = this.#read()));
      } catch (problem) {
        if (problem.name !== "AbortError") throw problem;
        this.#reads?.abort();
        await reading;
      }
    }
  }

  #take() {
    if (this.#reads || document.hidden) return;
    this.#tabs.postMessage("taken");
    this.#read();
  }

  async #read() {
    const reads = (this.#reads = new AbortController());
    try {
      for await (const event of this.#client.overview({ signal: reads.signal })) {
        this.#count(event);
        this.#told(event);
        this.#tabs.postMessage(event);
      }
    } catch (problem) {
      console.warn("The list is not kept up to date:", problem);
    }
    this.#reads = null;
  }

  #count({ type, data }) {
    countOpen(this.#writing, type, data);
  }

  #snapshot() {
    const writing = [...this.#writing].map(([session_id, ids]) => ({ session_id, replies: [...ids].map((id) => ({ id })) }));
    return { type: "snapshot", data: { writing } };
  }
}

/** What is told in it is heard by the other tabs. A browser that may keep nothing for the page may refuse it that as well. */
export function channel(name) {
  try {
    return new BroadcastChannel(name);
  } catch {
    return { deaf: true, postMessage() {} };
  }
}

/** Keeps a map of open replies by session true to an event. Returns whether a mark may have changed. */
export function countOpen(writing, type, data) {
  if (type === "snapshot") {
    writing.clear();
    for (const { session_id, replies } of data.writing) writing.set(session_id, new Set(replies.map(({ id }) => id)));
    return true;
  }
  const id = data.session_id;
  if (type === "session.deleted") return writing.delete(id);
  const open = writing.get(id) ?? new Set();
  if (type === "message.created" && ["queued", "streaming"].includes(data.message.status)) writing.set(id, open.add(data.message.id));
  if (type === "message.ended" && open.delete(data.message.id) && !open.size) writing.delete(id);
  return type.startsWith("message.");
}
