// Reads one reply with a client that somebody else wrote, over however many connections it takes, and prints every event.
//
//     node read.mjs eventsource URL          the package `eventsource`
//     node read.mjs fetch-event-source URL   the package `@microsoft/fetch-event-source`
//     node read.mjs client BASE SESSION REPLY   the page's own client module
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

  async "fetch-event-source"([url]) {
    // It was written for browsers: these are what it asks of one.
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    await fetchEventSource(url, { openWhenHidden: true, onmessage: ({ id, event, data }) => say({ id, type: event, data }) });
    say({ closed: true });
  },

  async client([base, session, reply]) {
    const { Client } = await import("../../src/rejoinder/page/client.js");
    for await (const { type, seq, data } of new Client(base).follow(session, { reply })) {
      say({ id: String(seq), type, data: JSON.stringify(data) });
    }
    say({ closed: true });
  },
};

await READERS[kind](where);
