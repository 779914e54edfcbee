/**
 * The page's state. It knows nothing of how it is drawn: it calls `changed` and that is all. What one does with the open
 * conversation is in `steering`.
 *
 * The address holds the open session (`#ses_…`), so that a reload, a bookmark and the back button lead to it. A new
 * chat gets its session with its first message, under an id made here, so that no empty sessions are left about.
 */

import { Conversation } from "./conversation.js";
import { Deletions } from "./deletions.js";
import { drafts, newOptions } from "./kept.js";
import { Outbox } from "./outbox.js";
import { Overview } from "./overview.js";
import { Sessions } from "./sessions.js";
import { draftOf, Steering } from "./steering.js";

const SESSION = /^#(ses_[0-9a-f]{32})$/;
/** Milliseconds after which a tab that nobody sees lets go of its stream. */
const HIDDEN_REST = 5_000;

export class Chat {
  #client;
  #changed;
  #renaming = {}; // by session, what gives up its former name
  #unfolded = (draft) => draft; // takes the files out of a text, as far as that is here
  #attaching = null; // files that are being read: whether they could be
  conversation = null; // none: a new chat
  draft = drafts.of();
  notice = null; // what went wrong with something that was asked for here
  menu = false; // whether the list is open, where it does not fit beside the conversation
  over = null; // what lies over the page: "options", "help"
  editing = null; // the id of the message that is being edited
  target = null; // the id of the message to go to
  models = [];
  unread = null; // which chats are, once what knows it is here
  search = { text: "", sessions: [], set: (text) => this.set({ search: { ...this.search, text } }) }; // as far as it is here

  constructor(client, changed) {
    [this.#client, this.#changed] = [client, changed];
    this.outbox = new Outbox(client, changed);
    this.sessions = new Sessions(client, changed);
    this.overview = new Overview(client, (event) => {
      this.sessions.apply(event);
      this.unread?.apply(event);
    });
    this.steering = new Steering(client, this);
    this.deletions = new Deletions(client, changed, (id, problem) => this.#deleted(id, problem));
  }

  start() {
    this.outbox.resume(this.steering.refused);
    for (const id of this.deletions.resume()) this.sessions.hide(id);
    this.#route();
    this.sessions.load();
    this.overview.start();
    this.#loadModels();
    addEventListener("hashchange", () => this.#route());
    addEventListener("online", () => this.#wake());
    addEventListener("offline", () => this.#changed());
    addEventListener("focus", () => this.conversation?.wake());
    addEventListener("storage", drafts.dropped);
    let hidden;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(hidden);
      if (document.hidden) hidden = setTimeout(() => this.conversation?.rest(), HIDDEN_REST);
      else this.#wake();
    });
  }

  get sessionId() {
    return this.conversation?.id ?? null;
  }

  get session() {
    return this.conversation?.history?.session ?? this.sessions.items.find(({ id }) => id === this.sessionId) ?? null;
  }

  /** What the open session is called; empty for one without a name and a message. */
  get title() {
    return (this.session && this.sessions.titleOf(this.session)) || this.pending[0]?.title || "";
  }

  /** Whether the address names a session that is not there (any more). */
  get missing() {
    return this.conversation?.phase === "missing";
  }

  /** What the server has not taken yet of the open session. */
  get pending() {
    const held = new Set(this.conversation?.history?.messages.map(({ id }) => id));
    return this.outbox.of(this.sessionId).filter(({ id }) => !held.has(id));
  }

  /** The messages to show: of the branch, up to where what is pending will stand. */
  get shown() {
    const branch = this.conversation?.branch ?? [];
    const at = this.pending.findLast((ask) => ask.at !== undefined)?.at;
    return at === undefined ? branch : branch.slice(0, branch.findIndex(({ id }) => id === at) + 1);
  }

  /** Whether the next message has to wait for a reply. */
  get busy() {
    return this.pending.length > 0 || Boolean(this.conversation?.running);
  }

  /** Whether the next message makes a session. */
  get isNew() {
    return !this.conversation || this.missing;
  }

  /** `{model, system_prompt, params}` of the open session, or of the one that the next message makes. */
  get options() {
    const { model = null, system_prompt = null, params = {} } = (this.isNew ? newOptions.get() : this.session) ?? {};
    return { model, system_prompt, params };
  }

  /** Those of a session, or of the next new one. Settles once they are kept; rejects where they could not be. */
  async setOptions(session, options) {
    if (session) await this.sessions.change(session, options);
    else newOptions.keep(options);
    this.#changed();
  }

  setDraft(change) {
    this.draft = { ...this.draft, ...change };
    drafts.keep(this.sessionId, change);
    this.#changed();
  }

  /** Sends the draft, with the files that are still being read for it. */
  async send(busy) {
    const { sessionId } = this;
    if (this.#attaching && (!(await this.#attaching) || this.sessionId !== sessionId)) return;
    const { draft } = this;
    if (!draft.text.trim() && !draft.attached.length) return;
    drafts.drop(sessionId, draft);
    this.set({ draft: { text: "", attached: [] } });
    this.steering.send(draft, busy);
  }

  /** What was not taken is a draft again, before what has been written since. */
  giveBack(session, content) {
    const { text, attached } = this.#unfolded(draftOf(content));
    const had = this.#draftOf(session);
    const draft = { text: [text, had.text].filter(Boolean).join("\n\n"), attached: [...attached, ...had.attached] };
    drafts.keep(session, draft);
    if (this.sessionId === session) this.set({ draft });
  }

  #draftOf(session) {
    return this.sessionId === session ? this.draft : drafts.of(session);
  }

  /** Adds files to the draft: that of the chat which is open now, also where another is once they are read. Those that came first come first. */
  attach = async (files) => {
    const { sessionId: session } = this;
    const before = this.#attaching;
    const attaching = this.try(async () => {
      const well = await before;
      const { attachedOf } = await import("./attaching.js");
      const { values, problem } = await attachedOf(files, this.#draftOf(session).attached);
      const attached = [...this.#draftOf(session).attached, ...values];
      if (this.sessionId === session) this.setDraft({ attached });
      else drafts.keep(session, { attached });
      if (problem) throw problem;
      return well;
    });
    this.#attaching = attaching;
    await attaching;
    if (this.#attaching === attaching) this.#attaching = null;
  };

  /** Makes sessions of files that were exported, and opens them. */
  import = (files) =>
    this.try(async () => {
      const { importFiles } = await import("./moving.js");
      const problem = await importFiles(files, (session) => {
        this.deletions.spare(session.id);
        if (session.last_seq) this.sessions.put(session); // else it was there, and is opened
        location.hash = session.id;
        this.#route();
      });
      if (problem) throw problem;
    });

  /** Opens a session at a message. */
  async open(session, message) {
    location.hash = session;
    this.#route();
    this.set({ target: message, menu: false });
    await this.try(async () => {
      const { conversation } = this;
      await conversation.ready;
      while (!conversation.holds(message) && (await conversation.loadOlder()));
      if (!conversation.holds(message)) await this.steering.show(message);
    });
  }

  /** Opens a message of one's own for other words; none closes it. */
  edit = (id) => this.set({ editing: id });

  /** Gives a session a name, once the server can be reached; the last one counts. */
  rename(id, title) {
    this.#renaming[id]?.abort();
    const { signal } = (this.#renaming[id] = new AbortController());
    return this.try(async () => {
      let told;
      await this.sessions.change(id, { title: title.trim() || null }, { signal, tries: Infinity, onRetry: (problem) => this.tell((told = problem)) });
      if (told === this.notice) this.tell(null);
    });
  }

  /** Takes a session away; for a few seconds it can be brought back. */
  delete(session) {
    this.sessions.hide(session.id);
    this.deletions.add({ ...session, title: this.sessions.titleOf(session), open: this.sessionId === session.id });
    if (this.sessionId === session.id) location.hash = "";
  }

  undoDelete() {
    const { id, open } = this.deletions.undo();
    this.sessions.unhide(id);
    if (open) location.hash = id;
  }

  /** Takes in what is not needed to show a chat and to write. */
  complete({ Search, Unread, unfolded }) {
    const { text } = this.search;
    this.#unfolded = unfolded;
    this.search = new Search(this.#client, this.#changed);
    this.unread = new Unread(this, this.#changed);
    this.search.set(text);
  }

  /** Does something that was asked for, and tells what came of it only where it failed. Returns whether it was done, which an action may deny by false. */
  async try(action) {
    try {
      return (await action()) !== false;
    } catch (problem) {
      this.tell(problem);
      return false;
    }
  }

  setMenu(menu) {
    this.set({ menu });
  }

  tell(problem) {
    if (problem?.name === "AbortError") return; // it was cancelled
    this.set({ notice: problem });
  }

  set(state) {
    Object.assign(this, state);
    this.#changed();
  }

  #route() {
    const id = SESSION.exec(location.hash)?.[1] ?? null;
    if (id === this.sessionId && this.conversation && !this.missing) return; // what was missing may have come
    this.conversation?.close();
    this.conversation = id && new Conversation(this.#client, id, () => this.#follow());
    this.conversation?.open(this.outbox.created(id));
    if (id && id === this.deletions.last?.id) this.undoDelete(); // whoever opens it wants it
    this.set({ draft: drafts.of(id), menu: false, notice: null, editing: null });
  }

  /** The list learns from the open conversation. */
  #follow() {
    const { history, phase, id } = this.conversation;
    if (phase === "missing") this.sessions.hide(id);
    else if (history?.session) this.sessions.put(history.session);
    this.#changed();
  }

  #deleted(id, problem) {
    if (!problem) {
      drafts.keep(id, { text: "", attached: [] });
      return this.sessions.tell();
    }
    this.sessions.unhide(id);
    this.tell(problem);
  }

  #wake() {
    this.conversation?.wake();
    this.sessions.load();
    this.#changed();
  }

  async #loadModels() {
    await this.try(async () => {
      this.models = (await this.#client.request("GET", "/v1/models", { tries: 3 })).data;
      this.#changed();
    });
  }
}
