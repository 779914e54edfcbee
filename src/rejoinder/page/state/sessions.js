/** The list of sessions, newest activity first, as far as it has been scrolled. */

import { channel, countOpen } from "./overview.js";
import { beginning } from "./titles.js";

/** Sessions of the first page, which is waited for, and of those behind it. */
const PAGE = 50;
const FURTHER = 200;

export class Sessions {
  #client;
  #changed;
  #loading = null;
  #furthers = false; // whether that is a page behind the first
  #again = null; // the first page once more, behind what is being loaded
  #beginnings = new Map(); // by session without a title: what is shown instead, empty while it is fetched
  #gone = new Set(); // deleted: an answer or an event that was already on its way must not bring one back
  #shown = []; // those whose names are to be known
  #naming = false; // whether one of them is being asked for
  #writing = new Map(); // by session in which replies are being written: their ids
  items = [];
  next = null; // the cursor of what comes behind them, none where that is nothing
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
    this.tabs = channel("rejoinder.sessions");
    this.tabs.onmessage = () => this.load();
  }

  /** Fetches the first page as it is now: what is on its way may be older. What had been scrolled to behind it stays. */
  load() {
    if (!this.#loading) return this.#fetch(null);
    this.#again ??= this.#loading.then(() => {
      this.#again = null;
      return this.load();
    });
    return this.#again;
  }

  /** Fetches the next page, once: behind the first page where that is on its way. */
  more() {
    if (!this.next) return undefined;
    if (!this.#loading) return this.#fetch(this.next);
    return this.#furthers ? this.#loading : this.#loading.then(() => this.more());
  }

  /** Says which sessions are shown: how they begin is fetched where nobody has named them. */
  show(sessions) {
    this.#shown = sessions;
    if (!this.#naming) this.#readBeginnings();
  }

  /** Takes in what is known of a session from elsewhere, at its place in the order. */
  put(session) {
    const had = this.items.find(({ id }) => id === session.id);
    if (this.#gone.has(session.id) || had?.last_seq > session.last_seq) return;
    if (had?.updated_at === session.updated_at && had.title === session.title && had.head === session.head) return;
    const others = this.#without(session.id);
    const place = others.findIndex((item) => order(session, item) < 0);
    this.items = others.toSpliced(place < 0 ? others.length : place, 0, session);
    this.#changed();
  }

  #without(gone) {
    return this.items.filter(({ id }) => id !== gone);
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

  /** Changes what is known of a session: title, model, params, system_prompt. */
  async change(id, fields, options) {
    this.put(await this.#client.request("PATCH", `/v1/sessions/${id}`, { body: fields, tries: 3, ...options }));
    this.tell();
  }

  /** Takes a session out of the list: it is gone, or will be. */
  hide(id) {
    this.#gone.add(id);
    this.items = this.#without(id);
    this.#changed();
  }

  unhide(id) {
    this.#gone.delete(id);
    this.load();
    this.#fetchOne(id); // it may stand behind the first page
  }

  tell() {
    this.tabs.postMessage("changed");
  }

  #fetch(after) {
    this.#furthers = after !== null;
    this.#loading = this.#page(after).finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #page(after) {
    const query = after ? `limit=${FURTHER}&after=${encodeURIComponent(after)}` : `limit=${PAGE}`;
    const known = new Set(this.items);
    try {
      this.#merge(after, known, await this.#client.request("GET", `/v1/sessions?${query}`, { tries: 2 }));
      [this.failed, this.loaded] = [null, true];
    } catch (problem) {
      this.failed = problem;
    }
    this.#changed();
  }

  /** Takes in a page, and keeps what was told since it was asked for, when only those `known` were. */
  #merge(after, known, { data, next }) {
    const held = new Set(this.items.map(({ id }) => id));
    // Where nothing of the first page is held, there may be a gap between it and what is, which is scrolled through once more.
    if (after || !this.loaded || !next || !data.some(({ id }) => held.has(id))) this.next = next;
    const last = data.at(-1);
    const behind = after ? this.items : next ? this.items.filter((item) => order(last, item) < 0) : [];
    const told = this.items.filter((item) => !known.has(item));
    this.items = unique([...data, ...behind, ...told]).filter(({ id }) => !this.#gone.has(id));
  }

  /** Fetches, one after another, the first messages of sessions that are shown and that nobody has named. */
  async #readBeginnings() {
    this.#naming = true;
    const nameless = ({ id, title, head }) => !title && head && !this.#beginnings.has(id);
    try {
      for (let session; (session = this.#shown.find(nameless)); ) {
        const { data } = await this.#client.request("GET", `/v1/sessions/${session.id}/messages?limit=1`, { tries: 2 });
        this.#beginnings.set(session.id, beginning(data[0].content));
        this.#changed();
      }
    } catch (problem) {
      console.warn("A chat stays without a name:", problem); // until the list is drawn again
    } finally {
      this.#naming = false;
    }
  }
}

/** Newest activity first, as the server has it. Times are of one form, so they sort as text. */
function order(one, other) {
  if (one.updated_at !== other.updated_at) return one.updated_at < other.updated_at ? 1 : -1;
  return one.id < other.id ? 1 : one.id > other.id ? -1 : 0;
}

/** The newest that is known of each, sorted. */
function unique(items) {
  const newest = new Map();
  for (const item of items) if (!(newest.get(item.id)?.last_seq >= item.last_seq)) newest.set(item.id, item);
  return [...newest.values()].sort(order);
}
