/**
 * What is on its way to the server: messages, and requests for another reply. Each is kept before the first attempt and
 * dropped only when the server has said yes or a clear no; until then it is sent again under the same id, also after a
 * reload and by another tab. The same id never makes a second message, so a doubt is always answered by one more attempt.
 * What is asked of one session goes one after another, so that it arrives as it was written.
 *
 * An ask is `{id, session, how, to, at, fields, title, create}`: `how` is "messages", or "replies" or "continue" of the
 * message `to`; `at` is the message below which it will stand, absent for the end; `fields` are the same at every attempt;
 * `create` holds what its session is to be made with, where it is the first, and `title` what to call that until it has a name.
 */

import { Problem } from "../client.js";
import { asks } from "./kept.js";

export class Outbox {
  #client;
  #changed;
  #created = new Map(); // by session that is being made: settles once the server has it
  items = [];

  constructor(client, changed) {
    [this.#client, this.#changed] = [client, changed];
  }

  /** Takes up what an earlier life of this page, or another tab, left. Tells of what is refused, unless the other tab has heard it first. */
  resume(onRefused) {
    for (const ask of asks.all()) {
      if (this.items.some(({ id }) => id === ask.id)) continue;
      const item = { ...ask };
      this.#deliver(item).catch((problem) => item.kept && onRefused(item, problem));
    }
  }

  /** Sends something. Settles once the server has taken it; rejects with its Problem where it will not. */
  send(ask) {
    asks.keep(ask.id, ask);
    return this.#deliver({ ...ask });
  }

  /** Gives an attempt up. Where the server took it and nobody heard of that, it comes by the session's stream all the same. */
  cancel(id) {
    asks.drop(id);
    this.items.find((item) => item.id === id)?.leave.abort();
  }

  of(session) {
    return this.items.filter((item) => item.session === session);
  }

  /** Settles when a session that this page makes is there; at once for any other. */
  created(session) {
    return this.#created.get(session);
  }

  async #deliver(item) {
    item.leave = new AbortController();
    const ahead = this.of(item.session).at(-1);
    item.problem = ahead?.problem;
    this.items = [...this.items, item];
    this.#changed();
    const onRetry = (problem) => {
      for (const waiting of this.of(item.session)) waiting.problem = problem;
      this.#changed();
    };
    let over;
    item.over = new Promise((resolve) => (over = resolve));
    try {
      if (ahead) await this.#turn(ahead, item.leave.signal);
      if (item.create) await this.#create(item, onRetry);
      const turn = await this.#ask(item, onRetry);
      asks.drop(item.id);
      return turn;
    } catch (problem) {
      // Nothing but a clear no ends the attempts.
      item.kept = asks.of(item.id);
      if (problem instanceof Problem) asks.drop(item.id);
      throw problem;
    } finally {
      this.items = this.items.filter((other) => other !== item);
      ahead?.over.then(over) ?? over(); // what was given up before its turn came lets nobody pass
      this.#changed();
    }
  }

  /** Settles when what was asked before is with the server or will never be; rejects when this one is given up. */
  async #turn(ahead, signal) {
    const left = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    await Promise.race([ahead.over, left]);
  }

  #ask({ session, id, how, to, fields, leave: { signal } }, onRetry) {
    if (how !== "messages") return this.#client.further(session, to, how, { id, signal, onRetry, ...fields });
    const { content, ...others } = fields;
    return this.#client.start(session, content, { id, signal, onRetry, ...others });
  }

  async #create({ session, create, leave: { signal } }, onRetry) {
    const created = this.#client.createSession({ id: session, ...create }, { signal, onRetry });
    this.#created.set(session, created.catch(() => {}));
    await created;
    this.#created.delete(session);
  }
}
