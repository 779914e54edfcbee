/**
 * What one can do with a conversation beyond reading it: send, stop, ask again, go on, edit, switch between branches, fork.
 * None of it changes what is shown: the server is asked, and what comes of it comes by the session's stream, as it does
 * to every other reader.
 */

import { newId } from "../client.js";
import { newOptions } from "./kept.js";
import { beginning } from "./titles.js";

/** Milliseconds in which the same again is a double click, or a key that is held down. */
const DOUBLE = 500;

export class Steering {
  #client;
  #chat;
  asked = 0; // how often something was
  #underWay = new Set(); // what is asked for once at a time, as `how session`

  constructor(client, chat) {
    [this.#client, this.#chat] = [client, chat];
  }

  /** Sends a draft to the open session, or to a new one where none is open. `busy` says what to do while a reply is written. */
  async send(draft, busy = "queue") {
    const chat = this.#chat;
    const create = chat.isNew && newOptions.get();
    const session = create ? newId("ses") : chat.sessionId;
    const content = contentOf(draft);
    const title = beginning(content);
    const sent = this.ask({ session, how: "messages", fields: { content, if_busy: busy }, title, create });
    if (create || !chat.title) chat.sessions.begins(session, title);
    if (create) {
      newOptions.keep({});
      location.hash = session;
    }
    try {
      await sent;
      chat.sessions.tell();
    } catch (problem) {
      this.refused({ session, create, fields: { content } }, problem);
    }
  }

  /** What the server will not take: words are a draft again. */
  refused = ({ session, create, fields }, problem) => {
    if (problem.name === "AbortError") return; // it was cancelled
    if (create && this.#chat.outbox.created(session)) newOptions.keep(create); // it was not made
    if (fields.content) this.#chat.giveBack(session, fields.content);
    this.#chat.tell(problem);
  };

  /** Gives up what the server has not taken: words are a draft again. */
  cancel(ask) {
    const { session, create } = ask;
    const { outbox } = this.#chat;
    // Without the first there is no session, and nothing that could be said in it.
    for (const { id, fields } of create ? outbox.of(session).reverse() : [ask]) {
      outbox.cancel(id);
      if (fields.content) this.#chat.giveBack(create ? null : session, fields.content);
    }
    if (!create) return;
    newOptions.keep(create);
    if (this.#chat.sessionId === session) location.hash = "";
  }

  /** Asks the same again in other words: a branch beside the message. */
  edit = (message, content) => this.#onBranches("edit", message, content);

  /** Asks for another reply beside this one. */
  again = ({ parent_id, session_id, status }) => {
    const live = status === "streaming" || status === "queued";
    const fields = { if_busy: live ? "interrupt" : "queue" };
    return this.#once("replies", session_id, () => this.ask({ session: session_id, how: "replies", to: parent_id, at: parent_id, fields }));
  };

  /** Goes on with a reply that broke off. */
  goOn = ({ id, parent_id, session_id }) =>
    this.#once("continue", session_id, () => this.ask({ session: session_id, how: "continue", to: id, at: parent_id, fields: {} }));

  /** Shows another branch: the one through this message that was written to last. */
  show = (id) => this.#onBranches("show", id);

  /** Begins a new session with everything up to this message, and opens it. */
  fork = (message) => this.#once("fork", message.session_id, () => this.#onBranches("fork", message));

  /** Takes back a message whose reply waits for its turn: its words are a draft again. Returns whether it could. */
  takeBack = (reply) => this.#onBranches("takeBack", reply);

  /** Ends a reply: the one that is being written, where none is named. */
  stop(reply = this.#chat.conversation?.running) {
    return reply ? this.attempt(() => this.#client.stop(reply.session_id, reply.id)) : undefined;
  }

  /** Whether the line is down, on which one would hear of a reply. */
  get down() {
    return this.#chat.conversation?.line === "waiting";
  }

  ask(ask) {
    this.asked++;
    this.#chat.tell(null);
    return this.#chat.outbox.send({ id: newId("msg"), ...ask });
  }

  /** Attempts what is not meant twice where it is asked for twice at once. */
  async #once(how, session, action) {
    const key = `${how} ${session}`;
    if (this.#underWay.has(key)) return;
    this.#underWay.add(key);
    await Promise.all([this.attempt(action), new Promise((resolve) => setTimeout(resolve, DOUBLE))]);
    this.#underWay.delete(key);
  }

  /** What is done to branches comes late: one reads and writes without it. */
  #onBranches(name, what, content) {
    const open = { client: this.#client, chat: this.#chat, conversation: this.#chat.conversation };
    return this.attempt(async () => (await import("./branches.js"))[name](open, what, content));
  }

  /** Does something that was asked for. Returns whether it was done: what came of it is told only where it was not. */
  attempt = (action) => this.#chat.try(action);
}

/** Whether something attached is a file, which is the very text that is sent for it (see `files`). Else it is the address of a picture. */
export const isFile = (attached) => attached.startsWith("File: ");

/** What is sent for a draft: a text, with its files behind it, or parts where there are pictures. */
export function contentOf({ text: written, attached }) {
  const text = [written, ...attached.filter(isFile)].filter((words) => words.trim()).join("\n\n");
  const parts = attached.filter((one) => !isFile(one)).map((url) => ({ type: "image_url", image_url: { url } }));
  if (!parts.length) return text;
  return text ? [{ type: "text", text }, ...parts] : parts;
}

/** The draft that a message was sent as, its files in the text (see `unfolded`). */
export function draftOf(content) {
  if (typeof content === "string") return { text: content, attached: [] };
  const text = content.filter(({ type }) => type === "text").map((part) => part.text).join("\n");
  return { text, attached: content.filter(({ type }) => type === "image_url").map((part) => part.image_url.url) };
}
