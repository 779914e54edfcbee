// Chats of Vercel's AI SDK over page/ai_sdk.js, which are told by lines of JSON what to do, and answer each with their state.
//
//     {"do": "open", "base": URL, "chat": SESSION, …} a tab that shows a session; the next lines are for it
//     {"do": "send", "texts": [TEXT, …], …}           and `again`, `regenerate`, `resume`, `output`, `stop`: the calls of a `Chat`
//     {"do": "see", "size": N, "parts": N}            waits until a reply has so many characters and parts
//     {"do": "rest"}                                  waits until nothing runs any more

import { createInterface } from "node:readline";
import { AbstractChat, lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import { Client } from "../../src/rejoinder/page/client.js";
import { openChat } from "../../src/rejoinder/page/ai_sdk.js";

/** What `Chat` of @ai-sdk/react is, without React. As in Svelte's the messages stay in one array. */
class Chat extends AbstractChat {
  finished = [];
  called = [];
  calls = new Set();

  constructor(init) {
    super({
      ...init,
      state: {
        status: "ready",
        messages: init.messages,
        pushMessage(message) {
          this.messages.push(structuredClone(message));
        },
        replaceMessage(index, message) {
          this.messages[index] = structuredClone(message);
        },
        snapshot: structuredClone,
      },
      onFinish: ({ isAbort, isError, finishReason }) => this.finished.push({ isAbort, isError, finishReason }),
      onToolCall: ({ toolCall }) => void this.called.push(toolCall.input),
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    });
  }

  begin(call) {
    this.calls.add(call);
    call.finally(() => this.calls.delete(call));
  }

  get rests() {
    return !this.calls.size && ["ready", "error"].includes(this.status);
  }

  /** Whether the last message is a reply that has so many characters and parts. */
  shows(size, count) {
    const { role, parts } = this.lastMessage ?? {};
    return role === "assistant" && parts.length >= count && parts.reduce((sum, { text = "" }) => sum + text.length, 0) >= size;
  }
}

async function until(holds) {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 10_000) throw new Error(`This never comes: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

let chat;
const DO = {
  open: async ({ base, chat: session, ...waiting }) => (chat = new Chat(await openChat(new Client(base), session, waiting))),
  send: ({ texts, ...more }) => texts.forEach((text) => chat.begin(chat.sendMessage({ text, ...more }))),
  again: () => chat.begin(chat.sendMessage()),
  regenerate: () => chat.begin(chat.regenerate()),
  resume: () => chat.begin(chat.resumeStream()),
  output: ({ toolCallId, output }) => chat.addToolOutput({ toolCallId, output }),
  stop: ({ texts = [] }) => [chat.begin(chat.stop()), DO.send({ texts })],
  rest: () => until(() => chat.rests),
  see: ({ size = 0, parts = 0 }) => until(() => chat.shows(size, parts)),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...how } = JSON.parse(line);
  await DO[what](how);
  const { status, error, messages, finished, called } = chat;
  console.log(JSON.stringify({ status, error: error && { code: error.code, message: error.message }, messages, finished, called }));
}
