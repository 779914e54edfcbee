/**
 * The page's state and what one can do with it. It knows nothing of how it is drawn: it calls `changed` and that is all.
 *
 * The address holds the open session (`#ses_…`), so that a reload, a bookmark and the back button lead to it. A new
 * chat gets its session with its first message, under an id made here, so that no empty sessions are left about.
 */

import { newId } from "../client.js";
import { Conversation } from "./conversation.js";
import { drafts } from "./kept.js";
import { Outbox } from "./outbox.js";
import { Sessions } from "./sessions.js";
import { beginning } from "./titles.js";

const SESSION = /^#(ses_[0-9a-f]{32})$/;
/** Milliseconds after which a tab that nobody sees lets go of its stream. */
const HIDDEN_REST = 60_000;

export class Chat {
  #client;
  #changed;
  conversation = null; // none: a new chat
  draft = "";
  notice = null; // what went wrong with something that was asked for here
  menu = false; // whether the list is open, where it does not fit beside the conversation
  models = [];

  constructor(client, changed) {
    [this.#client, this.#changed] = [client, changed];
    this.outbox = new Outbox(client, changed);
    this.sessions = new Sessions(client, changed);
  }

  start() {
    this.outbox.resume();
    this.#route();
    this.sessions.load();
    this.#loadModels();
    addEventListener("hashchange", () => this.#route());
    addEventListener("online", () => this.#wake());
    addEventListener("offline", () => this.#changed());
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

  /** What the open session is called; empty for one without a name and a message. */
  get title() {
    const session = this.conversation?.history?.session ?? this.sessions.items.find(({ id }) => id === this.sessionId);
    return (session && this.sessions.titleOf(session)) || this.pending[0]?.title || "";
  }

  /** Whether the address names a session that is not there (any more). */
  get missing() {
    return this.conversation?.phase === "missing";
  }

  /** Messages of the open session that the server has not taken yet. */
  get pending() {
    const held = new Set(this.conversation?.history?.messages.map(({ id }) => id));
    return this.outbox.of(this.sessionId).filter(({ id }) => !held.has(id));
  }

  /** Whether the next message has to wait. */
  get busy() {
    return this.pending.length > 0 || Boolean(this.conversation?.running);
  }

  setDraft(text) {
    this.draft = text;
    drafts.keep(this.sessionId, text);
    this.#changed();
  }

  /** Sends a message to the open session, or to a new one where none is open or it is not there any more. */
  async send(text) {
    const create = !this.conversation || this.missing;
    const session = create ? newId("ses") : this.sessionId;
    const untitled = !create && this.conversation.history?.messages.length === 0 && !this.title;
    const title = beginning(text);
    this.notice = null;
    const sent = this.outbox.send({ id: newId("msg"), session, content: text, title, create });
    if (create) location.hash = session;
    try {
      await sent;
      if (untitled) await this.sessions.rename(session, title);
      else this.sessions.tell();
    } catch (problem) {
      if (!drafts.of(session)) drafts.keep(session, text);
      if (this.sessionId === session) this.draft = drafts.of(session);
      this.tell(problem);
    }
  }

  /** Asks again what the last reply did not answer to its end. */
  again = () => {
    const [asked] = this.conversation.branch.slice(-2);
    if (!this.busy) this.send(asked.content);
  };

  async stop() {
    const { running } = this.conversation;
    await this.try(() => this.conversation.stop(running));
  }

  rename(id, title) {
    return this.try(() => this.sessions.rename(id, title.trim() || null));
  }

  async delete(id) {
    drafts.keep(id, "");
    if (this.sessionId === id) location.hash = "";
    await this.try(() => this.sessions.delete(id));
  }

  /** Does something that was asked for, and tells what came of it only where it failed. */
  async try(action) {
    try {
      await action();
    } catch (problem) {
      this.tell(problem);
    }
  }

  tell(problem) {
    this.notice = problem;
    this.#changed();
  }

  setMenu(open) {
    this.menu = open;
    this.#changed();
  }

  #route() {
    const id = SESSION.exec(location.hash)?.[1] ?? null;
    if (id === this.sessionId && this.conversation) return;
    this.conversation?.close();
    this.conversation = id && new Conversation(this.#client, id, () => this.#follow());
    this.conversation?.open(this.outbox.created(id));
    this.draft = drafts.of(id);
    this.menu = false;
    this.notice = null;
    this.#changed();
  }

  /** The list learns from the open conversation. */
  #follow() {
    const { history, phase, id } = this.conversation;
    if (phase === "missing") this.sessions.drop(id);
    else if (history?.session) this.sessions.put(history.session);
    this.#changed();
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
