/**
 * The reference client: send, follow, resume, stop, ask again. No dependencies, for browsers and Node 20 or later; copy it.
 *
 *     const client = new Client("http://127.0.0.1:8000");
 *     const session = await client.createSession();
 *     for await (const event of client.send(session.id, "Tell me a story.")) {
 *       if (event.type === "message.delta") console.log(event.data.text);
 *     }
 *
 * An event is `{type, seq, data}`. Three rules keep a reply from being lost: choose the ids yourself (the same id again
 * is a retry and never a second message), remember the seq of the last event, and when anything breaks, ask again
 * behind it. Leaving a loop only ends the reading: the reply goes on until it is done or `stop` is called.
 */

/** Milliseconds without a single byte after which a line is taken to be dead: three of the server's heartbeats. */
const SILENCE = 45_000;
/** Milliseconds that a connection must live to count as a good one, even if nothing happened on it. */
const HELD = 5_000;
const LONGEST_WAIT = 10_000;
/** Milliseconds that a timer can hold: one that is set to more goes off at once. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** Bytes in a millisecond of a slow line (128 kbit/s): nothing comes back before all is there that is sent. */
const SLOW = 16;

let latest = 0;

/** An id that a client may choose, `ses` for a session and `msg` for a message: a UUIDv7, so that ids sort in the order in which they are made. */
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  latest = Math.max(Date.now(), latest + 1); // also of two in one millisecond, and where the clock is put back
  new DataView(bytes.buffer).setBigUint64(0, (BigInt(latest) << 16n) | 0x7000n | BigInt((bytes[6] & 15) << 8 | bytes[7]));
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return `${prefix}_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** The server's clear answer that a request cannot be done, as it is in the problem document. `code` is stable. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `The server answered with ${status}.`);
    Object.assign(this, { name: "Problem", status, code: body.code ?? null, body });
  }
  /** Whether the same request may well succeed later. */
  get passing() {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** Text is missing or came twice, as an `offset` or a seq proves: fetch the history afresh. */
export class BrokenStream extends Error {}

export class Client {
  /** `base` is where the server is, without /v1; `headers` go with every request; `fetch` is for environments that bring their own. */
  constructor(base = "", { headers = {}, fetch = (...request) => globalThis.fetch(...request) } = {}) {
    if (!/^(https?:\/\/[^/@]+(\/|$)|\/|$)/i.test(base)) throw new TypeError("An address is http://… or https://…; a name and a password go into `headers`.");
    new Headers(headers); // throws where one can never be sent
    Object.assign(this, { base: String(base).replace(/\/+$/, ""), headers, fetch });
  }

  /** Makes a session of `{id?, title?, system_prompt?, model?, params?, metadata?}`. */
  createSession({ id = newId("ses"), ...fields } = {}, options = {}) {
    return this.request("POST", "/v1/sessions", { ...options, body: { id, ...fields } });
  }

  /** Sends a message and yields the events of its turn, to the end of the reply. Takes `{id?, signal?, onState?, …fields}`. */
  send(session, content, { id = newId("msg"), signal, onState, ...fields } = {}) {
    return this.#read(`/v1/sessions/${session}/messages`, { post: JSON.stringify({ id, content, ...fields }), once: true, signal, onState });
  }

  /** Sends a message and returns `{message, reply}` as soon as the server has taken it. `follow` reads the reply. */
  start(session, content, { id = newId("msg"), signal, tries, onRetry, ...fields } = {}) {
    const body = { id, content, ...fields };
    const headers = { prefer: "respond-async" };
    return this.request("POST", `/v1/sessions/${session}/messages`, { body, headers, signal, tries, onRetry });
  }

  /** Asks for one more reply: another one to a message (`how` is "replies"), or one that goes on with a reply ("continue"). */
  further(session, message, how, { id = newId("msg"), signal, tries, onRetry, ...fields } = {}) {
    const headers = { prefer: "respond-async" };
    return this.request("POST", `/v1/sessions/${session}/messages/${message}/${how}`, { body: { id, ...fields }, headers, signal, tries, onRetry });
  }

  /**
   * Yields the events of a session behind the seq `after`, for ever, or of one `reply` to its end. Reconnects by itself.
   * `onState` hears "open", and "waiting" (with the error) while the line is down. Aborting `signal` ends it quietly.
   * Throws a Problem for a clear no, and BrokenStream where what comes does not follow what was told: then fetch the history afresh.
   */
  follow(session, { reply, after, signal, onState } = {}) {
    const of = reply ? `/messages/${reply}` : "";
    return this.#read(`/v1/sessions/${session}${of}/events`, { after, once: Boolean(reply), signal, onState });
  }

  /** Yields what happens in all sessions, for ever: a `snapshot` of those that are writing at each connection, then the events. */
  overview({ signal, onState } = {}) {
    return this.#read("/v1/events", { signal, onState });
  }

  /** Ends a reply. Returns it once it has ended. */
  stop(session, reply, options = {}) {
    return this.request("POST", `/v1/sessions/${session}/messages/${reply}/stop`, options);
  }

  /**
   * Any JSON request, made again (up to `tries` times) while the server cannot be reached. So that this makes nothing twice, a
   * POST without an `id` in its body gets an Idempotency-Key.
   */
  async request(method, path, { body, headers, signal, tries = Infinity, onRetry } = {}) {
    const key = method === "POST" && body?.id === undefined ? { "idempotency-key": newId("key") } : {};
    for (let failures = 1; ; failures++) {
      try {
        return await this.#answer(method, path, JSON.stringify(body), { ...key, ...headers }, signal);
      } catch (error) {
        if (signal?.aborted || failures >= tries || (error instanceof Problem && !error.passing)) throw error;
        onRetry?.(error);
        await pause(backOff(failures, error.retryAfter), signal);
      }
    }
  }

  async #answer(method, path, body, headers, signal) {
    const line = new Line(signal, body);
    try {
      const response = await this.#fetch(method, path, body, headers, line.signal);
      if (response.status === 204) return null;
      let json = "";
      for await (const piece of pieces(response.body, line)) json += piece;
      return JSON.parse(json);
    } finally {
      line.close();
    }
  }

  async #fetch(method, path, body, headers, signal) {
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const all = { accept: "application/json", ...json, ...this.headers, ...headers };
    // Of a POST that is redirected browsers may make a GET, and its answer would be taken for that of the POST.
    const redirect = method === "GET" ? "follow" : "manual";
    // Else Firefox lets a second tab wait with what a first one reads at the same address.
    const cache = "no-store";
    const response = await this.fetch(this.base + path, { method, headers: all, body, signal, redirect, cache });
    if (response.ok) return response;
    if (response.status < 400) throw new Error(`${method} ${path} was redirected, and what it sends would be lost: is the address right?`);
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    throw Object.assign(problem, { retryAfter: delayOf(response.headers) });
  }

  /** One stream over all the connections that it takes. A `post` makes the first one; from its first event on, GETs do. */
  async *#read(path, { post, after, once, signal, onState }) {
    const [proof, begin] = [new Proof(), after];
    for (let failures = 0, least = 0; ; ) {
      const line = new Line(signal, post);
      const opened = Date.now();
      let problem = new Error("The line broke.");
      try {
        const headers = { accept: "text/event-stream", ...(after === undefined ? {} : { "last-event-id": `${after}` }) };
        const response = await this.#fetch(post ? "POST" : "GET", path, post, headers, line.signal);
        if (response.status === 204 && once && !post) {
          if (after === begin) return;
          throw new BrokenStream("The reply has ended, and its end was not told.");
        }
        if (!response.headers.get("content-type")?.startsWith("text/event-stream")) throw new Error("What answers is no stream of events.");
        onState?.("open");
        for await (const frame of frames(response.body, line)) {
          if (!frame.data) continue;
          // Where a browser may not see the header, the same POST asks again: its id attaches it to the same turn.
          const location = response.headers.get("location");
          if (post && location) [path, post] = [location.slice(location.indexOf("/v1/")), undefined]; // proxies may write before it where they are
          const data = JSON.parse(frame.data);
          const event = { type: frame.event, seq: data.seq, data };
          if (frame.id && event.seq <= after) throw new BrokenStream(`Event ${event.seq} came behind event ${after}.`);
          proof.check(event);
          failures = 0;
          if (frame.id) after = event.seq; // the overview has no cursor
          yield event;
          if (once && event.type === "message.ended") return;
        }
      } catch (error) {
        if (signal?.aborted) return;
        // The store has lost what was told, as a database may that takes over from another.
        if (error.code === "invalid_cursor") throw new BrokenStream(error.message);
        if (error instanceof BrokenStream || (error instanceof Problem && !error.passing)) throw error;
        problem = error;
      } finally {
        line.close();
      }
      if (Date.now() - opened > HELD) failures = 0;
      least = line.asked ?? least;
      onState?.("waiting", problem);
      await pause(Math.max(least, backOff(++failures, problem.retryAfter)), signal).catch(() => {});
      if (signal?.aborted) return;
    }
  }
}

/** One connection, which is cut when nothing comes by it for too long. */
class Line {
  #cut = new AbortController();
  #watchdog;
  asked; // milliseconds that the server wants a reader to wait before it comes back

  /** `body` is what is sent. */
  constructor(signal, body = "") {
    this.signal = either(signal, this.#cut.signal);
    this.alive(body.length / SLOW);
  }

  alive(more = 0) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#cut.abort(new Error("The line fell silent.")), SILENCE + more);
  }

  close() {
    clearTimeout(this.#watchdog);
    this.#cut.abort();
  }
}

/** The text of a body, as it comes. */
async function* pieces(body, line) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    line.alive();
    yield value;
  }
}

/** The frames of a stream as objects of their fields. A comment or a heartbeat is no field, but shows that the line lives. */
async function* frames(body, line) {
  let [rest, frame] = ["", {}];
  for await (const piece of pieces(body, line)) {
    const lines = piece.split("\n");
    lines[0] = rest + lines[0];
    rest = lines.pop();
    for (const text of lines) {
      const [, name, value] = /^([^:\r]*):? ?(.*?)\r?$/s.exec(text);
      if (name === "retry" && /^\d+$/.test(value)) line.asked = Number(value); // where it must not wait for the end of its frame
      if (name) frame[name] = value;
      else if (!text.startsWith(":")) [, frame] = [yield frame, {}];
    }
  }
}

/** Holds a stream to its offsets. What began before the stream is taken as it comes, and from there on proved. */
class Proof {
  #texts = new Map(); // by message: what `whole` says, and the code points of each part so far

  check({ type, seq, data }) {
    if (type === "message.created") this.#texts.set(data.message.id, { whole: true });
    if (type === "message.reset") this.#texts.set(data.message_id, { whole: true });
    if (type === "message.ended") this.#texts.delete(data.message.id);
    if (type !== "message.delta") return;
    const text = this.#texts.get(data.message_id) ?? {};
    const place = `${data.part} ${data.index ?? 0}`;
    const had = text[place] ?? (text.whole ? 0 : data.offset);
    if (data.offset !== had) throw new BrokenStream(`Event ${seq} begins at ${data.offset}, but ${had} code points are here.`);
    text[place] = had + [...data.text].length;
    this.#texts.set(data.message_id, text);
  }
}

const either = (...signals) => AbortSignal.any(signals.filter(Boolean));

/** Milliseconds that `Retry-After` asks for: it holds seconds, or a date, by the clock of the server where that may be seen. */
function delayOf(headers) {
  const asked = headers.get("retry-after");
  const now = Date.parse(headers.get("date")) || Date.now();
  return Math.max(0, 1000 * asked || Date.parse(asked) - now || 0);
}

/** Twice as long each time, and drawn at random, so that readers of a server that restarts do not come all at once. */
const backOff = (failures, asked = 0) =>
  Math.max(asked, Math.min(LONGEST_WAIT, 250 * 2 ** failures) * (0.5 + Math.random() / 2));

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => (clearTimeout(timer), signal?.removeEventListener("abort", end), signal?.aborted ? reject(signal.reason) : resolve());
    const timer = setTimeout(end, Math.min(milliseconds, LONGEST_TIMER));
    signal?.addEventListener("abort", end);
  });
}
