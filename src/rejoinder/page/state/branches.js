/**
 * What one can do to the branches of a conversation: begin another, show another, take one to a session of its own, cut one
 * short. Each is told what was open when it was asked for: `{client, chat, conversation}`.
 */

import { newId } from "../client.js";
import { beginning } from "./titles.js";

/**
 * Asks the same again in other words: a branch beside the message. Replies that wait for their turn below the old words are
 * not written any more: what was said for them is said again below the new ones.
 */
export async function edit({ client, chat, conversation: { branch } }, { id, parent_id, session_id: session }, content) {
  const below = branch.slice(branch.findIndex((message) => message.id === id));
  const waiting = below.filter(({ status }) => status === "queued");
  const said = below.filter((message) => message.id !== id && message.role === "user" && waiting.some((reply) => reply.parent_id === message.id));
  for (const reply of waiting.toReversed()) await client.stop(session, reply.id, { tries: 3 }); // else the next one's turn would come
  const ask = (fields) => chat.steering.ask({ session, how: "messages", ...fields });
  // What runs below the old words runs on; what runs above has to end first.
  const asked = [ask({ at: parent_id, fields: { content, parent_id, if_busy: "queue" } })];
  for (const { content: words } of said) {
    const again = ask({ fields: { content: words, if_busy: "queue" } });
    asked.push(again.catch((problem) => {
      if (problem.name !== "AbortError") chat.giveBack(session, words); // else it is a draft already
      throw problem;
    }));
  }
  await Promise.all(asked);
}

/** Shows another branch: the one through this message that was written to last. */
export async function show({ client, conversation: { id: session } }, id) {
  const head = await newestBelow(client, session, id);
  await client.request("PATCH", `/v1/sessions/${session}`, { body: { head }, tries: 3 });
}

/** The newest message of those below one: the end of the branch through it that was written to last. */
async function newestBelow(client, session, id) {
  const below = new Set([id]);
  let newest = id;
  for (let [after, more] = [id, true]; more; ) {
    const page = await client.request("GET", `/v1/sessions/${session}/messages?branch=all&after=${after}`, { tries: 3 });
    for (const message of page.data) if (below.has(message.parent_id)) below.add((newest = message.id));
    [after, more] = [page.data.at(-1)?.id, page.has_more];
  }
  return newest;
}

/** Begins a new session with everything up to this message, under a name that tells it from the other, and opens it. */
export async function fork({ client, chat: { sessions, title } }, { id, session_id }) {
  const name = title && `Fork of ${beginning(title.replace(/^Fork of /, ""))}`;
  const body = { at: id, id: newId("ses"), title: name || undefined };
  const made = await client.request("POST", `/v1/sessions/${session_id}/fork`, { body, tries: 3 });
  sessions.put(made);
  sessions.tell();
  location.hash = made.id;
}

/** Takes back a message whose reply waits for its turn: its words are a draft again. Returns whether it could. */
export async function takeBack({ client, chat, conversation }, { id, parent_id, session_id }) {
  const said = conversation.history.messages.find((message) => message.id === parent_id);
  const reply = await client.stop(session_id, id);
  // What was begun after all, or has something below it, stays as what it is.
  if (reply.status !== "stopped" || reply.content || !said?.parent_id || !isLast(conversation.history, id)) return false;
  await client.request("PATCH", `/v1/sessions/${session_id}`, { body: { head: said.parent_id }, tries: 3 });
  chat.giveBack(session_id, said.content);
  return true;
}

/** Whether the session ends at this message, and nothing that is held hangs below it. */
const isLast = ({ session, messages }, id) => session.head === id && messages.every(({ parent_id }) => parent_id !== id);
