/** The list of sessions, newest activity first, as far as it has been scrolled. */

import { countOpen } from "./overview.js";
import { beginning } from "./titles.js";

const PAGE = 50;

export class Sessions {
  #client;
  #changed;
  #next = null;
  #loading = null;
  #beginnings = new Map(); // by session without a title: what is shown instead, empty while it is fetched
  #gone = new Set(); // deleted: an answer or an event that was already on its way must not bring one back
  #writing = new Map(); // by session in which replies are being written: their ids
  items = [];
  version = 0; // another one whenever something in the list changed
  failed = null;
  loaded = false;

  constructor(client, changed) {
    this.#client = client;
    this.#changed = () => {
      this.version++;
      changed();
    };
    // Another tab of this browser made, renamed or deleted something.
    this.tabs = new BroadcastChannel("rejoinder.sessions");
    this.tabs.onmessage = () => this.load();
  }

  get hasMore() {
    return this.#next !== null;
  }

  /** Fetches the first page. What had been scrolled to behind it stays. */
  load() {
    return this.#fetch(null, (page) => {
      const last = page.at(-1);
      return [...page, ...(last && this.hasMore ? this.items.filter((item) => order(last, item) < 0) : [])];
    });
  }

  more() {
    return this.hasMore ? this.#fetch(this.#next, (page) => [...this.items, ...page]) : undefined;
  }

  /** Takes in what is known of a session from elsewhere, at its place in the order. */
  put(session) {
    const had = this.items.find(({ id }) => id === session.id);
    if (this.#gone.has(session.id) || had?.last_seq > session.last_seq) return;
    if (had?.updated_at === session.updated_at && had.title === session.title && had.head === session.head) return;
    this.#take([session, ...this.items]);
    this.#readBeginnings();
  }

  #take(items) {
    this.items = unique(items).filter(({ id }) => !this.#gone.has(id));
    this.#changed();
  }

  writes(id) {
    return this.#writing.has(id);
  }

  /** Takes in an event of the overview. What is not held is fetched, since it is the newest now. */
  async apply({ type, data }) {
    if (countOpen(this.#writing, type, data)) this.#changed();
    if (type === "snapshot") return this.load();
    const id = data.session_id;
    if (type === "session.deleted") return this.hide(id);
    if (type === "session.created") this.#gone.delete(id); // it may have come again
    if (data.session) return this.put({ ...data.session, last_seq: data.seq });
    const had = this.items.find((item) => item.id === id);
    const updated_at = type === "message.created" ? data.message.created_at : data.message?.ended_at;
    if (had && updated_at) this.put({ ...had, head: type === "message.created" ? data.message.id : had.head, updated_at, last_seq: data.seq });
    if (!had && updated_at) this.#fetchOne(id);
  }

  async #fetchOne(id) {
    try {
      this.put(await this.#client.request("GET", `/v1/sessions/${id}`, { tries: 2 }));
    } catch (problem) {
      if (problem.status !== 404) console.warn("A session is missing from the list:", problem);
    }
  }

  /** Says what a session is called until it has a name: how it begins. */
  begins(id, title) {
    this.#beginnings.set(id, title);
  }

  /** What to call a session; empty for one without a title and a message. */
  titleOf({ id, title }) {
    return title || this.#beginnings.get(id) || "";
  }

  rename(id, title) {
    return this.change(id, { title });
  }

  /** Changes what is known of a session: title, model, params, system_prompt. */
  async change(id, fields) {
    this.put(await this.#client.request("PATCH", `/v1/sessions/${id}`, { body: fields, tries: 3 }));
    this.tell();
  }

  /** Takes a session out of the list: it is gone, or will be. */
  hide(id) {
    this.#gone.add(id);
    this.#take(this.items);
  }

  unhide(id) {
    this.#gone.delete(id);
    this.load();
  }

  tell() {
    this.tabs.postMessage("changed");
  }

  #fetch(after, merge) {
    this.#loading ??= this.#page(after, merge).finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #page(after, merge) {
    const cursor = after ? `&after=${encodeURIComponent(after)}` : "";
    try {
      const page = await this.#client.request("GET", `/v1/sessions?limit=${PAGE}${cursor}`, { tries: 2 });
      if (after !== null || !this.loaded || !this.hasMore) this.#next = page.next ?? null;
      [this.failed, this.loaded] = [null, true];
      this.#take(merge(page.data));
    } catch (problem) {
      this.failed = problem;
      this.#changed();
    }
    this.#readBeginnings();
  }

  /** Fetches, one after another, the first messages of sessions that nobody has named. */
  async #readBeginnings() {
    for (const { id, title, head } of this.items) {
      if (title || !head || this.#beginnings.has(id)) continue;
      this.#beginnings.set(id, "");
      try {
        const { data } = await this.#client.request("GET", `/v1/sessions/${id}/messages?limit=1`, { tries: 2 });
        this.#beginnings.set(id, beginning(data[0].content));
        this.#changed();
      } catch {
        this.#beginnings.delete(id); // the next load of the list asks again
        return;
      }
    }
  }
}

/** Newest activity first, as the server has it. Times are of one form, so they sort as text. */
function order(one, other) {
  const [a, b] = [one.updated_at + one.id, other.updated_at + other.id];
  return a < b ? 1 : a > b ? -1 : 0;
}

/** The first of each id, sorted. */
function unique(items) {
  const seen = new Map();
  for (const item of items) if (!seen.has(item.id)) seen.set(item.id, item);
  return [...seen.values()].sort(order);
}
