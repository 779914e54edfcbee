/** Messages and titles that are looked for by their words, in all sessions: asked for when the writing pauses, the last answer wins. */

const PAUSE = 200;
/** Messages that are asked for at first, and at most. */
const FIRST = 30;
const MOST = 1000;

export class Search {
  #client;
  #changed;
  #timer = null;
  #asking = new AbortController();
  #limit = FIRST;
  text = "";
  found = null; // none while nothing is looked for, or the answer is on its way: `[{session_id, session_title, message, snippet, matches}]`
  sessions = []; // those that have the words in their title, and in none of the messages that were found
  more = false; // whether there are more messages than were found
  problem = null;

  constructor(client, changed) {
    [this.#client, this.#changed] = [client, changed];
  }

  set(text) {
    clearTimeout(this.#timer);
    this.#asking.abort();
    this.#limit = FIRST;
    Object.assign(this, { text, problem: null, found: text.trim() ? this.found : null });
    if (text.trim()) this.#timer = setTimeout(() => this.#ask(), PAUSE);
    this.#changed();
  }

  /** Finds more of the same, the former ones first. */
  findMore() {
    this.#limit = Math.min(4 * this.#limit, MOST);
    return this.#ask();
  }

  async #ask() {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    try {
      const query = `?q=${encodeURIComponent(this.text.trim().slice(0, 512))}&limit=${this.#limit}`;
      const onRetry = (problem) => this.#tell(problem);
      const ask = (path) => this.#client.request("GET", path + query, { signal, onRetry });
      const [messages, sessions] = await Promise.all([ask("/v1/search"), ask("/v1/sessions")]);
      [this.found, this.problem, this.more] = [messages.data, null, messages.has_more && this.#limit < MOST];
      this.sessions = sessions.data.filter(({ id }) => !this.found.some(({ session_id }) => session_id === id));
    } catch (problem) {
      if (signal.aborted) return;
      // Signs without a letter or digit are no words, and nothing has them.
      if (problem.status === 422) [this.found, this.sessions, this.more] = [[], [], false];
      else this.problem = problem;
    }
    this.#changed();
  }

  #tell(problem) {
    this.problem = problem;
    this.#changed();
  }
}
