/**
 * A bridge to Vercel's AI SDK: a front-end with `useChat` talks to Rejoinder, and loses no reply. It needs nothing but `client.js` and
 * `ai_messages.js` beside it; copy them. The chat page does not load it. Written for `ai` 7.0.173 and `@ai-sdk/react` 4.0.177.
 *
 *     const chat = new Chat(await openChat(new Client("http://127.0.0.1:8000"), sessionId)); // of @ai-sdk/react
 *     useChat({ chat, resume: true });
 *
 * A chat has the id of its session. A UI message of the assistant is a reply, or several with the results of tools
 * between them: then it has the id of the first, and its metadata tell of the last.
 */

import { contentOf, isOpen, resultOf, toChunks, toUIMessages } from "./ai_messages.js";
import { newId } from "./client.js";

/** What makes a `Chat` that shows a session and goes on with it. `waiting` is what `RejoinderTransport` takes. */
export async function openChat(client, session, waiting) {
  const transport = new RejoinderTransport(client, waiting);
  return { id: session, messages: await transport.load(session), transport, generateId: () => newId("msg") };
}

/** The AI SDK's `ChatTransport`. */
export class RejoinderTransport {
  /** What is resumed is told from the beginning of its message, whatever was shown of it. */
  resumeStreamIsReplay = true;
  #client;
  #requests;
  #streams;
  #sent = new Map(); // by the id of a UI message: the words that were sent, under which id, and whether they were taken
  #unread = new Map(); // by session: the reply whose end was not told yet
  #stopping = Promise.resolve();
  #resumes = 0;

  /** `tries`, `onRetry` and `onState` are what the client's calls take. */
  constructor(client, { tries, onRetry, onState } = {}) {
    this.#client = client;
    this.#requests = { tries, onRetry };
    this.#streams = { onState };
  }

  /** The UI messages of a session. */
  async load(chatId) {
    let page = await this.#page(chatId, "");
    const messages = page.data;
    while (page.has_more) {
      page = await this.#page(chatId, `?as_of=${page.as_of}&after=${messages.at(-1).id}`);
      messages.push(...page.data);
    }
    if (isOpen(messages.at(-1))) this.#unread.set(chatId, messages.at(-1).id);
    return toUIMessages(messages);
  }

  /** `body` has fields of the request (`model`, `params`, …). An abort stops the reply at the server, even if it begins later. */
  async sendMessages({ abortSignal, messages: all, ...asked }) {
    const messages = [...all]; // some front-ends put the next message into the same array
    const turn = this.#ask(messages, asked);
    abortSignal?.addEventListener("abort", () => this.#stop(asked.chatId, turn.then(({ reply }) => reply.id)), { once: true });
    const { reply } = await orAborted(turn, abortSignal);
    return this.#stream(asked.chatId, reply.id, { continues: messages.at(-1).role === "assistant" });
  }

  async reconnectToStream({ chatId, abortSignal }) {
    const resume = ++this.#resumes;
    const turn = this.#unfinished(chatId);
    // `Chat` also aborts a resume directly before it begins the next one. Nobody wished an end then.
    const stop = () => resume === this.#resumes && this.#stop(chatId, turn.then((replies) => replies?.at(-1).id));
    abortSignal?.addEventListener("abort", () => setTimeout(stop), { once: true });
    const replies = await turn;
    return replies && this.#stream(chatId, replies.at(-1).id, { earlier: replies.slice(0, -1) });
  }

  async #ask(messages, { trigger, chatId, messageId, body }) {
    await this.#stopping; // a session is busy until what was stopped has ended
    const message = messages.at(-1);
    if (message.role === "assistant") return this.#answer(chatId, message, body);
    if (trigger !== "regenerate-message") return this.#say(chatId, messages, messageId, body);
    const id = this.#sent.get(message.id)?.under.id ?? message.id;
    try {
      return await this.#client.further(chatId, id, "replies", { ...this.#requests, ...body });
    } catch (error) {
      if (error.code !== "message_not_found") throw error;
      return this.#say(chatId, messages, undefined, body); // it was refused, and is tried again
    }
  }

  /** Sends the last message: under its own id or, where it was `edited`, under another one in its place. */
  #say(chatId, messages, edited, body) {
    const message = messages.at(-1);
    const content = contentOf(message);
    return this.#once(chatId, message.id, { content, metadata: message.metadata, ...body }, () => {
      if (edited === undefined) return { id: message.id };
      return { id: message.id === edited ? newId("msg") : message.id, parent_id: aboveLast(messages) };
    });
  }

  /** Sends the results of the tools that a reply has called. */
  #answer(chatId, { id, metadata, parts }, body) {
    const step = parts.slice(parts.findLastIndex(({ type }) => type === "step-start") + 1);
    const results = step.filter(({ state }) => state?.startsWith("output-")).map(resultOf);
    const parent_id = metadata?.reply_id ?? id;
    return this.#once(chatId, parent_id, { role: "tool", results, ...body }, () => ({ id: newId("msg"), parent_id }));
  }

  /** Until the server has taken them the same words are the same request, whose id makes it a retry: it is not answered twice. */
  async #once(chatId, key, { content, ...fields }, name) {
    const text = JSON.stringify(content ?? fields.results);
    const had = this.#sent.get(key);
    const sent = had?.text === text && !had.taken ? had : { text, under: name(), taken: false };
    this.#sent.set(key, sent);
    const turn = await this.#client.start(chatId, content, { ...this.#requests, ...fields, ...sent.under });
    sent.taken = true;
    return turn;
  }

  #stop(chatId, reply) {
    const stopped = reply.then((id) => id && this.#client.stop(chatId, id));
    this.#stopping = stopped.catch(() => {}); // it was refused or is no more: there is nothing to stop
  }

  /** The replies of the last turn and the results between them; null where its end was told. */
  async #unfinished(chatId) {
    const [newest] = (await this.#page(chatId, "?before=end&limit=1")).data;
    if (!newest || !(isOpen(newest) || newest.id === this.#unread.get(chatId))) return null;
    const { data } = await this.#page(chatId, "?before=end");
    return data.slice(data.findLastIndex(({ role }) => role !== "assistant" && role !== "tool") + 1);
  }

  #page(chatId, query) {
    return this.#client.request("GET", `/v1/sessions/${chatId}/messages${query}`, this.#requests);
  }

  /** Who cancels it only leaves. */
  #stream(chatId, reply, how) {
    this.#unread.set(chatId, reply);
    const leaving = new AbortController();
    const chunks = toChunks(this.#client.follow(chatId, { reply, signal: leaving.signal, ...this.#streams }), how);
    const pull = async (controller) => {
      const { value, done } = await chunks.next();
      if (leaving.signal.aborted) return;
      if (done) return controller.close();
      if (value.type === "finish") this.#unread.delete(chatId);
      controller.enqueue(value);
    };
    return new ReadableStream({ pull, cancel: () => leaving.abort() });
  }
}

/** The reply above the last message, or null. */
function aboveLast(messages) {
  const above = messages.slice(0, -1).findLast(({ role }) => role === "assistant");
  return above ? (above.metadata?.reply_id ?? above.id) : null;
}

/** What `promised` gives, or at once the reason why `signal` is aborted. */
function orAborted(promised, signal) {
  return new Promise((resolve, reject) => {
    promised.then(resolve, reject);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
