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

/** An id that a client may choose, `ses` for a session and `msg` for a message: a UUIDv7, so that ids sort by time. */
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, (BigInt(Date.now()) << 16n) | 0x7000n | BigInt((bytes[6] & 15) << 8 | bytes[7]));
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

/** Text is missing or came twice: what an `offset` proves. */
export class BrokenStream extends Error {}

export class Client {
  /** `base` is where the server is, without /v1; `headers` go with every request; `fetch` is for environments that bring their own. */
  constructor(base = "", { headers = {}, fetch = (...request) => globalThis.fetch(...request) } = {}) {
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
   * Throws a Problem for a clear no, and BrokenStream where an offset does not agree: then fetch the history afresh.
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

  /** Any JSON request, made again (up to `tries` times) while the server cannot be reached: all of them may come twice. */
  async request(method, path, { body, headers, signal, tries = Infinity, onRetry } = {}) {
    const text = JSON.stringify(body);
    for (let failures = 1; ; failures++) {
      try {
        const limit = AbortSignal.timeout(SILENCE);
        const response = await this.#fetch(method, path, text, { ...headers }, either(signal, limit));
        return response.status === 204 ? null : await response.json();
      } catch (error) {
        if (signal?.aborted || failures >= tries || (error instanceof Problem && !error.passing)) throw error;
        onRetry?.(error);
        await pause(backOff(failures, error.retryAfter), signal);
      }
    }
  }

  async #fetch(method, path, body, headers, signal) {
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const all = { accept: "application/json", ...json, ...this.headers, ...headers };
    const response = await this.fetch(this.base + path, { method, headers: all, body, signal });
    if (response.ok) return response;
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    throw Object.assign(problem, { retryAfter: delayOf(response.headers.get("retry-after")) });
  }

  /** One stream over all the connections that it takes. A `post` makes the first one; from its first event on, GETs do. */
  async *#read(path, { post, after, once, signal, onState }) {
    const proof = new Proof();
    for (let failures = 0, least = 0; ; ) {
      const line = new AbortController();
      const cut = () => line.abort(new Error("The line fell silent."));
      let watchdog = setTimeout(cut, SILENCE);
      const opened = Date.now();
      let problem = new Error("The line broke.");
      try {
        const headers = { accept: "text/event-stream", ...(after === undefined ? {} : { "last-event-id": `${after}` }) };
        const response = await this.#fetch(post ? "POST" : "GET", path, post, headers, either(signal, line.signal));
        if (response.status === 204) return;
        onState?.("open");
        const alive = () => (clearTimeout(watchdog), (watchdog = setTimeout(cut, SILENCE)));
        for await (const frame of frames(response.body, alive)) {
          if (frame.retry) least = Number(frame.retry);
          if (!frame.data) continue;
          // Where a browser may not see the header, the same POST asks again: its id attaches it to the same turn.
          if (post && response.headers.get("location")) [path, post] = [response.headers.get("location"), undefined];
          const data = JSON.parse(frame.data);
          const event = { type: frame.event, seq: data.seq, data };
          proof.check(event);
          failures = 0;
          if (frame.id) after = event.seq; // the overview has no cursor
          yield event;
          if (once && event.type === "message.ended") return;
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (error instanceof BrokenStream || (error instanceof Problem && !error.passing)) throw error;
        problem = error;
      } finally {
        clearTimeout(watchdog);
        line.abort();
      }
      if (Date.now() - opened > HELD) failures = 0;
      onState?.("waiting", problem);
      await pause(Math.max(least, backOff(++failures, problem.retryAfter)), signal).catch(() => {});
      if (signal?.aborted) return;
    }
  }
}

/** The frames of a stream as objects of their fields. A comment or a heartbeat is no field, but shows that the line lives. */
async function* frames(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, frame] = ["", {}];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const [, name, text] = /^([^:\r]*):? ?(.*?)\r?$/s.exec(line);
      if (name) frame[name] = text;
      else if (!line.startsWith(":")) [, frame] = [yield frame, {}];
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

/** Milliseconds that a `Retry-After` asks for: it holds seconds, or a date. */
const delayOf = (asked) => Math.max(0, 1000 * asked || Date.parse(asked) - Date.now() || 0);

/** Twice as long each time, and drawn at random, so that readers of a server that restarts do not come all at once. */
const backOff = (failures, asked = 0) =>
  Math.max(asked, Math.min(LONGEST_WAIT, 250 * 2 ** failures) * (0.5 + Math.random() / 2));

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => (clearTimeout(timer), signal?.removeEventListener("abort", end), signal?.aborted ? reject(signal.reason) : resolve());
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}
