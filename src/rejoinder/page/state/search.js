/** Messages and titles that are looked for by their words, in all sessions: asked for when the writing pauses, the last answer wins. */

const PAUSE = 200;
const MOST = 30;

export class Search {
  #client;
  #changed;
  #timer = null;
  #asking = new AbortController();
  text = "";
  found = null; // none while nothing is looked for, or the answer is on its way: `[{session_id, session_title, message, snippet, matches}]`
  sessions = []; // those that have the words in their title, and in none of the messages that were found
  problem = null;

  constructor(client, changed) {
    [this.#client, this.#changed] = [client, changed];
  }

  set(text) {
    clearTimeout(this.#timer);
    this.#asking.abort();
    Object.assign(this, { text, problem: null, found: text.trim() ? this.found : null });
    if (text.trim()) this.#timer = setTimeout(() => this.#ask(), PAUSE);
    this.#changed();
  }

  async #ask() {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    try {
      const query = `?q=${encodeURIComponent(this.text.trim().slice(0, 512))}&limit=${MOST}`;
      const onRetry = (problem) => this.#tell(problem);
      const ask = (path) => this.#client.request("GET", path + query, { signal, onRetry });
      const [messages, sessions] = await Promise.all([ask("/v1/search"), ask("/v1/sessions")]);
      [this.found, this.problem] = [messages.data, null];
      this.sessions = sessions.data.filter(({ id }) => !this.found.some(({ session_id }) => session_id === id));
    } catch (problem) {
      if (signal.aborted) return;
      // Signs without a letter or digit are no words, and nothing has them.
      if (problem.status === 422) [this.found, this.sessions] = [[], []];
      else this.problem = problem;
    }
    this.#changed();
  }

  #tell(problem) {
    this.problem = problem;
    this.#changed();
  }
}
