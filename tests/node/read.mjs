// Reads one reply with a client that somebody else wrote, over however many connections it takes, and prints every event.
//
//     node read.mjs eventsource URL                 the package `eventsource`
//     node read.mjs fetch-event-source URL [BODY]   the package `@microsoft/fetch-event-source`; with a body it sends it
//     node read.mjs client BASE SESSION REPLY       the page's own client module
//     node read.mjs client-send BASE SESSION CONTENT
//     node read.mjs client-stop BASE SESSION CONTENT   sends, and stops the reply at its first piece
//     node read.mjs client-session BASE SESSION        all of a session, to the first end of a reply
//
// One JSON line an event: {id, type, data}; a last line {closed: true} when the client has come to rest by itself.

import { EventSource } from "eventsource";

const TYPES = ["message.created", "message.started", "message.delta", "message.reset", "message.stopping", "message.ended"];
const [kind, ...where] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const READERS = {
  eventsource([url]) {
    const source = new EventSource(url);
    const tell = ({ lastEventId, type, data }) => say({ id: lastEventId, type, data });
    source.onmessage = tell; // an event without a type would be one that the server never sent
    for (const type of TYPES) source.addEventListener(type, tell);
    source.onerror = () => source.readyState === EventSource.CLOSED && say({ closed: true });
  },

  async "fetch-event-source"([url, body]) {
    // It was written for browsers: these are what it asks of one.
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    const post = body && { method: "POST", body, headers: { "content-type": "application/json" } };
    const onmessage = ({ id, event, data }) => say({ id, type: event, data });
    await fetchEventSource(url, { ...post, openWhenHidden: true, onmessage });
    say({ closed: true });
  },

  async client([base, session, reply]) {
    await tellAll((await clientOf(base)).follow(session, { reply }));
  },

  async "client-send"([base, session, content]) {
    await tellAll((await clientOf(base)).send(session, content));
  },

  async "client-stop"([base, session, content]) {
    const client = await clientOf(base);
    let stopping;
    await tellAll(client.send(session, content), ({ type, data }) => {
      if (type === "message.delta") stopping ??= client.stop(session, data.message_id);
    });
    const reply = await stopping;
    if (reply.status !== "stopped") throw new Error(`It was to be stopped, and is ${reply.status}.`);
  },

  async "client-session"([base, session]) {
    await tellAll((await clientOf(base)).follow(session, { after: 0 }), ({ type }) => type === "message.ended");
  },
};

async function clientOf(base) {
  const { Client } = await import("../../src/rejoinder/page/client.js");
  return new Client(base);
}

/** Until there are no more, or `enough` says so. */
async function tellAll(events, enough = () => false) {
  for await (const event of events) {
    say({ id: String(event.seq), type: event.type, data: JSON.stringify(event.data) });
    if (enough(event)) break;
  }
  say({ closed: true });
}

await READERS[kind](where);
