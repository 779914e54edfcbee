/** Messages that are looked for by their words, in all sessions: asked for when the writing pauses, the last answer wins. */

const PAUSE = 200;
const MOST = 30;

export class Search {
  #client;
  #changed;
  #timer = null;
  #asking = new AbortController();
  text = "";
  found = null; // none while nothing is looked for, or the answer is on its way: `[{session_id, session_title, message, snippet, matches}]`
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
      const path = `/v1/search?q=${encodeURIComponent(this.text.trim().slice(0, 512))}&limit=${MOST}`;
      this.found = (await this.#client.request("GET", path, { signal, tries: 3 })).data;
    } catch (problem) {
      if (signal.aborted) return;
      // Signs without a letter or digit are no words, and nothing has them.
      if (problem.status === 422) this.found = [];
      else this.problem = problem;
    }
    this.#changed();
  }
}
