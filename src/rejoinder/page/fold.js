/**
 * The fold: from events to the history they tell. Pure, so that anyone can test it and time-travel with it.
 *
 * A history is `{session, messages, as_of, stopping, sizes}`: the session, its messages in order of creation, the seq up
 * to which it is true, the ids of replies that someone asked to stop, and the code points of texts that are growing. The
 * events behind `as_of` applied to a history of all messages give what is fetched later.
 */

/** Text is missing or came twice, or an event speaks of what is not here: fetch the history again. */
export class BrokenLog extends Error {}

export function newHistory(session, messages, as_of) {
  return { session, messages, as_of, stopping: [], sizes: {} };
}

/** The history after one event `{type, seq, data}`. Returns the same one for events that it already holds. */
export function fold(history, { type, seq, data }) {
  if (seq <= history.as_of) return history;
  const change = CHANGES[type]?.(history, data) ?? {};
  const session = change.session ?? history.session;
  return { ...history, ...change, as_of: seq, session: session && { ...session, last_seq: seq } };
}

const CHANGES = {
  "session.created": (_, { session }) => ({ session }),
  "session.updated": (_, { session }) => ({ session }),
  "message.created": (history, { message }) => ({
    messages: withSiblings([...history.messages, message], message),
    session: { ...history.session, head: message.id, updated_at: message.created_at },
  }),
  "message.started": (history, { message_id, attempt, model }) =>
    changed(history, message_id, (message) => ({
      status: "streaming",
      model,
      attempts: [...message.attempts.slice(0, attempt - 1), { model, error: null }],
    })),
  "message.delta": (history, delta) => {
    const message = find(history, delta.message_id);
    const place = `${message.id} ${delta.part} ${delta.index ?? 0}`;
    const had = history.sizes[place] ?? [...(textOf(message, delta) ?? "")].length;
    if (delta.offset !== had) throw new BrokenLog(`${place} has ${had} code points, the next begins at ${delta.offset}.`);
    return {
      ...changed(history, message.id, APPEND[delta.part](message, delta)),
      sizes: { ...history.sizes, [place]: had + [...delta.text].length },
    };
  },
  "message.reset": (history, { message_id }) => ({
    ...changed(history, message_id, { content: "", reasoning: "", tool_calls: [] }),
    sizes: without(history.sizes, message_id),
  }),
  "message.stopping": (history, { message_id }) => ({ stopping: [...history.stopping, message_id] }),
  "message.ended": (history, { message }) => ({
    // Siblings grow, and an event tells them as they were when the message was created.
    ...changed(history, message.id, (had) => ({ ...message, siblings: had.siblings })),
    session: { ...history.session, updated_at: message.ended_at ?? history.session.updated_at },
    stopping: history.stopping.filter((id) => id !== message.id),
    sizes: without(history.sizes, message.id),
  }),
};

const APPEND = {
  content: (message, { text }) => ({ content: message.content + text }),
  reasoning: (message, { text }) => ({ reasoning: message.reasoning + text }),
  tool_call: ({ tool_calls }, { index, id, name, text }) => {
    if (index > tool_calls.length) throw new BrokenLog(`Tool call ${index} begins where ${tool_calls.length} have begun.`);
    const had = tool_calls[index] ?? { id: "", type: "function", function: { name: "", arguments: "" } };
    const called = { name: name || had.function.name, arguments: had.function.arguments + text };
    return { tool_calls: replaced(tool_calls, index, { ...had, id: id || had.id, function: called }) };
  },
};

function textOf(message, { part, index }) {
  return part === "tool_call" ? message.tool_calls[index]?.function.arguments : message[part];
}

/** The message is looked for from the end: what changes is nearly always the newest. */
function place(history, id) {
  const index = history.messages.findLastIndex((message) => message.id === id);
  if (index < 0) throw new BrokenLog(`There is no message ${id} here.`);
  return index;
}

const find = (history, id) => history.messages[place(history, id)];

function changed(history, id, change) {
  const index = place(history, id);
  const had = history.messages[index];
  const message = { ...had, ...(typeof change === "function" ? change(had) : change) };
  return { messages: replaced(history.messages, index, message) };
}

function replaced(list, index, item) {
  const copy = list.slice();
  copy[index] = item;
  return copy;
}

const without = (sizes, id) => Object.fromEntries(Object.entries(sizes).filter(([place]) => !place.startsWith(`${id} `)));

/** All messages with one parent know each other, oldest first, where there is more than one. */
function withSiblings(messages, { parent_id, siblings }) {
  const family = messages.filter((message) => message.parent_id === parent_id);
  const ids = [...new Set([...family[0].siblings, ...siblings, ...family.map((message) => message.id)])];
  if (ids.length < 2) return messages;
  return messages.map((message) => (message.parent_id === parent_id ? { ...message, siblings: ids } : message));
}
