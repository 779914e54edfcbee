// What page/client.js makes of bad days: each scene is one that a network, a proxy or a restart plays. Prints what came of
// each as one line of JSON. Its clock goes on as soon as nothing else can happen.

import { createServer } from "node:http";
import { Client, newId } from "../../src/rejoinder/page/client.js";

const done = {};

// --- a clock and a network of our own --------------------------------------------------------------------------------

const own = { setTimeout, clearTimeout };
const timers = new Map();
let [now, count] = [0, 0];
const begun = Date.now();
Date.now = () => begun + now;
globalThis.setTimeout = (run, wait) => {
  timers.set(++count, { run, at: now + (wait > 2 ** 31 - 1 ? 1 : Math.ceil(wait)) });
  return count;
};
globalThis.clearTimeout = (timer) => timers.delete(timer);
AbortSignal.timeout = (wait) => {
  const line = new AbortController();
  setTimeout(() => line.abort(new Error("It took too long.")), wait);
  return line.signal;
};
const sleep = (wait) => new Promise((over) => setTimeout(over, wait));

async function passing(promise) {
  let over = false;
  const end = () => (over = true);
  promise.then(end, end);
  while (!over) {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    const [next] = [...timers].sort(([, one], [, other]) => one.at - other.at);
    if (over || !next) continue;
    timers.delete(next[0]);
    now = next[1].at;
    next[1].run();
  }
  return promise;
}

/** A client whose requests are answered in turn, and what it asked. */
function playing(...answers) {
  const asked = [];
  const fetch = (url, { method, headers, body, signal }) => {
    asked.push({ method, url, headers, size: body?.length, at: now });
    const answer = answers[asked.length - 1];
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      if (!answer) reject(Object.assign(new Error("no more answers"), { name: "Enough" }));
      else answer(signal).then(resolve, reject);
    });
  };
  return [new Client("", { fetch }), asked];
}

const json = (value, init) => async () => Response.json(value, init);
const lost = async () => {
  throw new TypeError("The answer never came.");
};

/** Pieces that come one after another, `apart` milliseconds each, and then a clean end, a broken line or nothing more. */
const body = (pieces, { apart = 0, kind = "text/event-stream", cut = false, hang = false, location } = {}) => async (signal) => {
  const source = new ReadableStream({
    async start(controller) {
      signal.addEventListener("abort", () => controller.error(signal.reason));
      for (const piece of pieces) {
        if (apart) await sleep(apart);
        if (signal.aborted) return;
        controller.enqueue(new TextEncoder().encode(piece));
      }
      if (hang) return;
      await new Promise(setImmediate); // what was put in is read before the line breaks
      if (cut) controller.error(new TypeError("The line broke."));
      else controller.close();
    },
  });
  return new Response(source, { headers: { "content-type": kind, ...(location && { location }) } });
};

const frame = (seq, type, data) => `event: ${type}\ndata: ${JSON.stringify({ seq, ...data })}\nid: ${seq}\n\n`;
const created = (seq) => frame(seq, "message.created", { message: { id: "m", role: "assistant" } });
const delta = (seq, offset, text) => frame(seq, "message.delta", { message_id: "m", part: "content", offset, text });
const ended = (seq) => frame(seq, "message.ended", { message: { id: "m" } });

/** The seqs of events until there are no more answers, and the error that ended them. */
async function read(events) {
  const seen = [];
  try {
    for await (const { seq } of events) seen.push(seq);
  } catch (error) {
    seen.push(error.constructor.name);
  }
  return seen;
}

/** Reads what these answers bring, and gives up where the client asks for more. */
async function reading(answers, begin) {
  const [client, asked] = playing(...answers);
  const enough = new AbortController();
  const states = [];
  const onState = (state, problem) => {
    states.push(problem?.message ?? state);
    if (asked.length > answers.length) enough.abort();
  };
  const seen = await passing(read(begin(client, { signal: enough.signal, onState })));
  return { seen, states, asked: asked.map(({ method }) => method), urls: asked.map(({ url }) => url), times: asked.map(({ at }) => at) };
}

const reply = (after) => (client, options) => client.follow("s", { reply: "m", after, ...options });
const turn = (client, options) => client.send("s", "hello", options);
const session = (client, options) => client.follow("s", { after: 0, ...options });

async function asking(answers, call) {
  const [client, asked] = playing(...answers);
  const value = await passing(call(client));
  return { value, asked: asked.map(({ headers, at }) => ({ key: headers["idempotency-key"] ?? null, at })) };
}

const fork = (fields, headers) => (client) => client.request("POST", "/v1/sessions/s/fork", { body: { at: "m", ...fields }, headers });
done.forked = await asking([lost, json({ id: "f" })], fork());
done.named = await asking([lost, json({ id: "f" })], fork({ id: "f" }));
done.keyed = await asking([lost, json({ id: "f" })], fork({}, { "idempotency-key": "own" }));

const late = (wait, value) => async () => (await sleep(wait), Response.json(value));
const picture = "x".repeat(2 << 20);
done.large = await asking([late(90_000, { sent: true }), json({ sent: "again" })], (client) => client.start("s", picture));
done.dead = await asking([() => new Promise(() => {}), json({})], (client) => client.start("s", "hello"));
const slow = body(['{"data"', ":", "[1", "]}"], { apart: 30_000, kind: "application/json" });
done.slow = await asking([slow, json({ asked: "again" })], (client) => client.request("GET", "/v1/sessions"));

const wait = (headers) => [json({ code: "no" }, { status: 429, headers }), json({})];
const get = (client) => client.request("GET", "/v1/sessions");
done.seconds = await asking(wait({ "retry-after": "7" }), get);
const [date, until] = ["Sat, 28 Nov 2026 01:00:00 GMT", "Sat, 28 Nov 2026 01:00:07 GMT"];
done.dated = await asking(wait({ date, "retry-after": until }), get);
done.far = await asking(wait({ "retry-after": "Fri, 31 Dec 2100 23:59:59 GMT" }), get);

done.notNow = await reading([body(["retry: 5000\n:\n"], { cut: true }), body([ended(2)])], reply(1));
done.silent = await reading([body([created(2)], { hang: true }), body([ended(3)])], reply());
done.beating = await reading([body([created(2), ...Array(9).fill(":\n"), ended(3)], { apart: 15_000 })], reply());
done.repeated = await reading([body([created(2) + delta(3, 0, "a"), created(2) + delta(3, 0, "a"), ended(4)])], reply());
done.portal = await reading([body(["<html>\n\n"], { kind: "text/html" }), body([created(2), ended(3)])], reply());
const ahead = json({ code: "invalid_cursor" }, { status: 400 });
done.lostByTheStore = await reading([body([created(2)], { cut: true }), ahead], reply());
const nothing = async () => new Response(null, { status: 204 });
done.overBefore = await reading([nothing], reply(9));
done.overAndNeverTold = await reading([body([created(2)], { cut: true }), nothing], reply());
done.nothingSent = await reading([nothing, body([created(2), ended(3)])], turn);
done.nothingFollows = await reading([nothing, body([created(2)])], session);

globalThis.document = { hidden: false };
const { Conversation } = await import("../../src/rejoinder/page/state/conversation.js");
const phaseAt = async (answer) => {
  const conversation = new Conversation(playing(answer, answer)[0], "s", () => {});
  await passing(conversation.open());
  return conversation.phase;
};
const gone = json({ code: "session_not_found" }, { status: 404 });
const proxy = async () => new Response("default backend - 404", { status: 404 });
done.phases = [await phaseAt(gone), await phaseAt(proxy)];

globalThis.addEventListener = () => {};
const { Deletions } = await import("../../src/rejoinder/page/state/deletions.js");
const deletedAt = (answer) =>
  passing(
    new Promise((deleted) => {
      const deletions = new Deletions(playing(answer)[0], () => {}, (_, problem) => deleted(problem ? problem.message : "gone"));
      deletions.add({ id: "s" });
      deletions.settle();
    }),
  );
done.deleted = [await deletedAt(nothing), await deletedAt(gone), await deletedAt(proxy)];

const of = "/v1/sessions/s/messages/m/events";
done.located = [];
for (const location of [of, `http://chat.example${of}`, `/under${of}`]) {
  done.located.push((await reading([body([created(2)], { cut: true, location }), body([ended(3)])], turn)).urls[1]);
}

const long = new TextEncoder().encode(frame(2, "message.ended", { message: { id: "m", content: "x".repeat(4 << 20) } }));
let sent = 0;
const packets = new ReadableStream({ pull: (to) => to.enqueue(long.subarray(sent, (sent += 1400))) });
const start = performance.now();
done.long = { seen: await passing(read(playing(async () => new Response(packets, { headers: { "content-type": "text/event-stream" } }))[0].follow("s", { reply: "m" }))) };
done.long.took = performance.now() - start;

const ids = Array.from({ length: 50 }, () => newId("msg"));
now -= 60_000;
ids.push(newId("msg"));
done.ids = { sorted: `${ids.toSorted()}` === `${ids}`, different: new Set(ids).size, form: ids.every((id) => /^msg_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/.test(id)) };

done.addresses = ["localhost:8000", "127.0.0.1:8000", "ftp://a", "http://me:secret@a", "http://a", "HTTPS://a/b", "", "/under"].filter((base) => {
  try {
    return new Client(base);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return false;
  }
});

// --- redirected by a real server, since it is `fetch` that makes another request of it ------------------------------

Object.assign(globalThis, own);
const server = createServer(({ method, url }, response) => {
  const moved = url === "/v1/sessions" ? 301 : url === "/v1/sessions/s/messages" ? 308 : 0;
  if (moved) response.writeHead(moved, { location: "/elsewhere" }).end();
  else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ method }));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const there = new Client(`http://127.0.0.1:${server.address().port}`);
const outcome = (promise) => promise.then((value) => value, (error) => ({ error: error.message }));
done.redirected = [
  await outcome(there.createSession({}, { tries: 1 })),
  await outcome(there.start("s", "hello", { tries: 1 })),
  await outcome(there.request("GET", "/v1/sessions", { tries: 1 })),
];
server.closeAllConnections();
server.close();

try {
  new Client("http://a", { headers: { authorization: "Bearer “key”" } });
} catch (error) {
  done.header = error.constructor.name;
}

console.log(JSON.stringify(done));
