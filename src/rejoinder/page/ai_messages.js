/**
 * Events and messages of Rejoinder as the chunks and UI messages of Vercel's AI SDK. Pure: told chunk by chunk or made of what was
 * fetched later, a UI message is the same.
 */

/**
 * From the events of one reply (those of `client.send` or `client.follow`) to the chunks of a UI message stream. `earlier` are the
 * replies and results of tools with which its UI message begins; where it `continues` a message, they are there already.
 */
export async function* toChunks(events, { earlier = [], continues = false } = {}) {
  let told;
  for await (const { type, data } of events) {
    const reply = data.message?.role === "assistant" ? data.message : undefined;
    const id = reply?.id ?? data.message_id;
    if (!id) continue;
    if (!told) {
      const messageId = continues ? undefined : (earlier[0]?.id ?? id);
      yield { type: "start", messageId, messageMetadata: metadataOf(reply ?? { id }) };
      for (const message of earlier) yield* earlierChunks(message);
      yield { type: "start-step" };
      told = new Told(id);
    }
    if (type === "message.delta") yield* told.more(data);
    if (type === "message.ended") yield* endChunks(reply, told);
    if (type !== "message.reset") continue;
    yield { type: "reset-step" };
    told = new Told(id);
  }
}

const KINDS = { reasoning: "reasoning", content: "text" };

/** How much of a reply has been told. */
class Told {
  #id;
  #sizes = { reasoning: 0, content: 0 };
  #open = null;
  #calls = [];

  constructor(id) {
    this.#id = id;
  }

  more({ part, index, ...piece }) {
    return part === "tool_call" ? this.#call(index, piece) : this.#text(part, piece.text);
  }

  /** What a reply that has ended has beyond it: its last pieces may have gone from the log. */
  *rest({ tool_calls, ...reply }) {
    for (const part of Object.keys(KINDS)) yield* this.#text(part, reply[part].slice(this.#sizes[part]));
    for (const [index, { id, function: { name, arguments: text } }] of tool_calls.entries()) {
      yield* this.#call(index, { id, name, text: text.slice(this.#calls[index]?.size) });
    }
    yield* this.#close();
  }

  *#text(part, delta) {
    if (!delta) return;
    if (this.#open !== part) {
      yield* this.#close();
      this.#open = part;
      yield { type: `${KINDS[part]}-start`, id: this.#id };
    }
    this.#sizes[part] += delta.length;
    yield { type: `${KINDS[part]}-delta`, id: this.#id, delta };
  }

  *#call(index, { id, name, text }) {
    if (!this.#calls[index]) {
      yield* this.#close();
      yield { type: "tool-input-start", toolCallId: id, toolName: name ?? "" }; // the end tells a name that comes later
    }
    const call = (this.#calls[index] ??= { id, size: 0 });
    call.size += text.length;
    if (text) yield { type: "tool-input-delta", toolCallId: call.id, inputTextDelta: text };
  }

  *#close() {
    if (this.#open) yield { type: `${KINDS[this.#open]}-end`, id: this.#id };
    this.#open = null;
  }
}

function* endChunks(reply, told) {
  yield* told.rest(reply);
  for (const call of reply.tool_calls) {
    const input = inputOf(reply, call);
    const type = input.errorText ? "tool-input-error" : "tool-input-available";
    yield { type, toolCallId: call.id, toolName: call.function.name, ...input };
  }
  yield { type: "finish-step" };
  yield { type: "finish", finishReason: finishOf(reply), messageMetadata: metadataOf(reply) };
  if (reply.status === "stopped") yield { type: "abort", reason: "stopped" };
  if (reply.error) yield { type: "error", errorText: reply.error.message };
}

/** Calls of before are not told as `available`: they have been carried out, and would be again. */
function* earlierChunks(message) {
  const { role, tool_call_id: toolCallId, content } = message;
  if (role === "tool") return yield { type: "tool-output-available", toolCallId, output: outputOf(content) };
  yield { type: "start-step" };
  yield* new Told(message.id).rest(message);
  yield { type: "finish-step" };
}

/** The UI messages of a history: of the messages of one branch, oldest first, as `GET …/messages` has them. */
export function toUIMessages(messages) {
  const shown = [];
  for (const message of messages) {
    const { id, role, content } = message;
    const last = shown.at(-1);
    if (role === "tool") {
      const call = last?.parts.findLast(({ toolCallId }) => toolCallId === message.tool_call_id);
      if (call) Object.assign(call, { state: "output-available", output: outputOf(content), errorText: undefined });
    } else if (role !== "assistant") {
      const metadata = Object.keys(message.metadata).length ? message.metadata : undefined;
      shown.push({ id, role, metadata, parts: partsOfContent(content) });
    } else {
      const goesOn = last?.role === "assistant";
      const ui = goesOn ? last : { id, role, parts: [] };
      if (!goesOn) shown.push(ui);
      Object.assign(ui, { metadata: metadataOf(message), parts: [...ui.parts, ...partsOfReply(message)] });
    }
  }
  return shown;
}

function partsOfReply(reply) {
  const state = isOpen(reply) ? "streaming" : "done";
  const parts = [{ type: "step-start" }];
  if (reply.reasoning) parts.push({ type: "reasoning", id: reply.id, text: reply.reasoning, state });
  if (reply.content) parts.push({ type: "text", text: reply.content, state });
  for (const call of reply.tool_calls) {
    const input = isOpen(reply) ? { state: "input-streaming" } : inputOf(reply, call);
    const ended = input.errorText ? "output-error" : "input-available";
    parts.push({ type: `tool-${call.function.name}`, toolCallId: call.id, state: ended, ...input });
  }
  return parts;
}

function partsOfContent(content) {
  const parts = typeof content === "string" ? [{ text: content }] : content;
  return parts.map(({ text, image_url }) => (image_url ? pictureOf(image_url) : { type: "text", text }));
}

const pictureOf = ({ url }) => ({ type: "file", mediaType: /^data:(image\/[^;,]+)/.exec(url)?.[1] ?? "image/*", url });

/** What is sent of a user's UI message. */
export function contentOf({ parts }) {
  if (parts.length === 1 && parts[0].type === "text") return parts[0].text;
  return parts.map(({ type, text, mediaType, url }) => {
    if (type === "text") return { type, text };
    if (mediaType?.startsWith("image")) return { type: "image_url", image_url: { url } };
    throw new Error(`A message holds text and pictures, and no ${mediaType ?? type}.`);
  });
}

function inputOf({ status }, { function: { arguments: text } }) {
  if (status !== "completed") return { input: text, errorText: "The reply ended before the call was complete." };
  try {
    return { input: JSON.parse(text || "{}") };
  } catch {
    return { input: text, errorText: "The arguments are not JSON." };
  }
}

/** What is sent of a tool that has run. */
export function resultOf({ toolCallId, output, errorText }) {
  const result = errorText ?? output ?? null;
  return { tool_call_id: toolCallId, content: typeof result === "string" ? result : JSON.stringify(result) };
}

/** What a tool gave, of which `resultOf` made text. */
function outputOf(content) {
  try {
    return /^[[{]/.test(content) ? JSON.parse(content) : content;
  } catch {
    return content;
  }
}

function metadataOf({ id, status, model, finish_reason, usage, error, created_at, ended_at }) {
  return { reply_id: id, status, model, finish_reason, usage, error, created_at, ended_at };
}

/** After "interrupted" a `Chat` sends nothing by itself, as no results of calls that were cut off. */
function finishOf({ status, finish_reason }) {
  if (status !== "completed") return status === "failed" ? "error" : "interrupted";
  return { stop: "stop", length: "length", content_filter: "content-filter", tool_calls: "tool-calls" }[finish_reason] ?? "other";
}

export const isOpen = (message) => message?.status === "queued" || message?.status === "streaming";
