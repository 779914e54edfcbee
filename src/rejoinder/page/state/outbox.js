/**
 * Messages on their way to the server. Each is kept before the first attempt and dropped only when the server has said
 * yes or a clear no; until then it is sent again under the same id, also after a reload and by another tab. The same id
 * never makes a second message, so a doubt is always answered by one more attempt.
 */

import { Problem } from "../client.js";
import { sends } from "./kept.js";

export class Outbox {
  #client;
  #changed;
  #created = new Map(); // by session that is being made: settles once the server has it
  items = [];

  constructor(client, changed) {
    [this.#client, this.#changed] = [client, changed];
  }

  /** Takes up what an earlier life of this page, or another tab, left. */
  resume() {
    for (const send of sends.all()) if (!this.items.some(({ id }) => id === send.id)) this.#deliver({ ...send });
  }

  /** Sends a message. Settles once the server has taken it; rejects with its Problem where it will not. */
  send(message) {
    sends.keep(message);
    return this.#deliver({ ...message });
  }

  of(session) {
    return this.items.filter((item) => item.session === session);
  }

  /** Settles when a session that this page makes is there; at once for any other. */
  created(session) {
    return this.#created.get(session);
  }

  async #deliver(item) {
    this.items = [...this.items, item];
    this.#changed();
    const onRetry = (problem) => Object.assign(item, { problem }) && this.#changed();
    try {
      if (item.create) await this.#create(item, onRetry);
      const turn = await this.#client.start(item.session, item.content, { id: item.id, onRetry });
      sends.drop(item);
      item.taken = turn;
      return turn;
    } catch (problem) {
      // Nothing but a clear no ends the attempts.
      if (problem instanceof Problem) sends.drop(item);
      throw problem;
    } finally {
      this.items = this.items.filter((other) => other !== item);
      this.#changed();
    }
  }

  async #create({ session, title }, onRetry) {
    const created = this.#client.createSession({ id: session, title }, { onRetry });
    this.#created.set(session, created.catch(() => {}));
    await created;
    this.#created.delete(session);
  }
}
