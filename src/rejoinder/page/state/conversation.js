/**
 * The open session: its history, kept up to date by one stream. Fetch a page of history, fold what the stream brings
 * behind it, and draw whatever branch ends at the head. Everything that anyone does to the session comes by this one
 * way, what this page sent itself as well; so two tabs cannot help showing the same.
 */

import { Problem } from "../client.js";
import { fold, newHistory } from "../fold.js";
import { withLine } from "./lines.js";

const PAGE = 100;
/** Milliseconds between two looks at the session while the streams of other tabs leave none for this one. */
const LOOK = 3000;
const LIVE = ["queued", "streaming"];

export class Conversation {
  #client;
  #changed;
  #leave = new AbortController();
  #line = null;
  #resting = document.hidden;
  #wanted = true; // whether somebody turned to this tab since it last had a stream, so that another's gives way
  #awaken = null;
  #loaded;
  #older = null; // the page of older messages that is being fetched
  history = null;
  phase = "loading"; // or "ready", "missing", "failed"
  line = "open"; // or "waiting", while the stream is down
  problem = null;
  loadingOlder = false;
  ready = new Promise((resolve) => (this.#loaded = resolve));
  fresh = false; // whether this page is making the session

  constructor(client, id, changed) {
    [this.#client, this.id, this.#changed] = [client, id, changed];
  }

  /** Loads the session once `ready` has settled, and follows it until `close`. */
  async open(ready) {
    this.fresh = ready !== undefined;
    await ready;
    while (!this.#leave.signal.aborted) {
      try {
        await this.#load();
        await this.#follow();
      } catch (problem) {
        if (this.#leave.signal.aborted) return;
        if (problem.code === "session_not_found") return this.#set({ phase: "missing", history: null, line: "open" });
        if (problem instanceof Problem) return this.#set({ phase: "failed", problem, line: "open" });
        // An offset that does not agree, or an event of a message that is not here: what is fetched afresh is right.
        console.warn("The history is fetched again:", problem);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  }

  close() {
    this.#leave.abort();
  }

  /** Lets go of the stream: nobody sees what it brings. */
  rest() {
    this.#resting = true;
    this.#line?.abort();
  }

  /** Takes the stream up again, at once also where it was waiting before its next attempt. */
  wake() {
    if (this.line === "waiting") this.#line?.abort();
    [this.#resting, this.#wanted] = [false, true];
    this.#awaken?.();
  }

  /** The messages of the branch that ends at the head, as far as they are held. */
  get branch() {
    if (!this.history) return [];
    const held = new Map(this.history.messages.map((message) => [message.id, message]));
    const branch = [];
    // A session that is fetched a moment after its messages may name a head that the stream has yet to bring.
    let message = held.get(this.history.session?.head) ?? this.history.messages.at(-1);
    for (; message; message = held.get(message.parent_id)) branch.push(message);
    return branch.reverse();
  }

  /** The reply that is being written, or the first of those that wait for their turn. */
  get running() {
    return this.branch.find(({ status }) => LIVE.includes(status)) ?? null;
  }

  /** Whether the branch that is shown has this message, as far as it is held. */
  holds(id) {
    return this.branch.some((message) => message.id === id);
  }

  /** Fetches a page of what came before. Returns whether there was one. */
  loadOlder() {
    this.#older ??= this.#fetchOlder().finally(() => (this.#older = null));
    return this.#older;
  }

  async #fetchOlder() {
    const [oldest] = this.branch;
    if (!oldest?.parent_id) return false;
    this.#set({ loadingOlder: true });
    try {
      const query = `?limit=${PAGE}&before=${oldest.id}&branch=${oldest.id}`;
      const { data } = await this.#get(`/messages${query}`, { tries: 3 });
      const held = new Set(this.history.messages.map(({ id }) => id));
      const older = data.filter(({ id }) => !held.has(id));
      this.history = { ...this.history, messages: [...older, ...this.history.messages] };
      return older.length > 0;
    } finally {
      this.#set({ loadingOlder: false });
    }
  }

  async #load() {
    const [page, session] = await Promise.all([this.#get(`/messages?before=end&limit=${PAGE}`), this.#get("")]);
    // Behind `as_of` the stream tells all; a session from before it has to be fetched again.
    const fresh = session.last_seq < page.as_of ? await this.#get("") : session;
    this.#set({ history: newHistory(fresh, page.data, page.as_of), phase: "ready", line: "open" });
    this.#loaded();
  }

  #get(path, options) {
    const onRetry = () => this.#set({ line: "waiting" });
    return this.#client.request("GET", `/v1/sessions/${this.id}${path}`, { signal: this.#leave.signal, onRetry, ...options });
  }

  /** Follows the session. Returns when the history is to be fetched again. */
  async #follow() {
    while (!this.#leave.signal.aborted) {
      if (this.#resting) await this.#pause();
      let stale = false;
      const read = async (lost) => {
        stale = await this.#read(lost);
        if (lost.aborted) this.#wanted = false;
      };
      if (!(await withLine(this.#wanted, read))) {
        await this.#pause(LOOK);
        stale = !this.#resting && !this.#wanted;
      }
      if (stale) return;
    }
  }

  /** Folds what the stream brings, until it is let go of. Returns whether the history is to be fetched again. */
  async #read(lost) {
    if (this.#resting) return false;
    this.#line = new AbortController();
    const signal = AbortSignal.any([this.#leave.signal, this.#line.signal, lost]);
    const onState = (line) => this.#set({ line });
    for await (const event of this.#client.follow(this.id, { after: this.history.as_of, signal, onState })) {
      this.history = this.#concerns(event) ? fold(this.history, event) : { ...this.history, as_of: event.seq };
      this.#changed();
      if (event.type === "session.updated" && !this.#holds(event.data.session.head)) return true;
    }
    return false;
  }

  /** Until it is woken, or for so many milliseconds. */
  async #pause(milliseconds) {
    let timer;
    await new Promise((resolve) => {
      this.#awaken = resolve;
      if (milliseconds) timer = setTimeout(resolve, milliseconds);
    });
    clearTimeout(timer);
  }

  /** A reply of another branch, which nobody looks at, may be written meanwhile. */
  #concerns({ type, data }) {
    const id = type === "message.ended" ? data.message.id : data.message_id;
    return type === "message.created" || id === undefined || this.#holds(id);
  }

  #holds(id) {
    return id === null || this.history.messages.some((message) => message.id === id);
  }

  #set(state) {
    if (this.#leave.signal.aborted) return;
    Object.assign(this, state);
    this.#changed();
  }
}
