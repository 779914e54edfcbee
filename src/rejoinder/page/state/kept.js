/**
 * What this browser keeps so that nothing is lost before the server has it: drafts, and what is on its way. Each has a
 * key of its own, so that two tabs never write over each other. Where storage is refused or full, memory stands in.
 */

/** Of one kind of thing, by name. */
class Shelf {
  #prefix;
  #memory = new Map();

  constructor(kind) {
    this.#prefix = `rejoinder.${kind}.`;
  }

  of(name) {
    const text = this.#memory.get(name) ?? stored((storage) => storage.getItem(this.#prefix + name));
    return text ? JSON.parse(text) : null;
  }

  keep(name, value) {
    this.drop(name);
    const text = JSON.stringify(value);
    const done = stored((storage) => (storage.setItem(this.#prefix + name, text), true));
    if (!done) this.#memory.set(name, text);
  }

  drop(name) {
    this.#memory.delete(name);
    stored((storage) => storage.removeItem(this.#prefix + name));
  }

  /** Every value, in the order of their names. */
  all() {
    const keys = stored((storage) => Array.from({ length: storage.length }, (_, index) => storage.key(index))) ?? [];
    const names = keys.filter((key) => key.startsWith(this.#prefix)).map((key) => key.slice(this.#prefix.length));
    return [...new Set([...names, ...this.#memory.keys()])].sort().map((name) => this.of(name));
  }
}

/** What the browser's storage makes of a request; undefined where it refuses. */
function stored(request) {
  try {
    return request(localStorage);
  } catch {
    return undefined;
  }
}

const NOTHING = { text: "", pictures: [] };
const draftShelf = new Shelf("draft");
const optionShelf = new Shelf("options");

/** What is written and not sent, `{text, pictures}`, by session; of a chat that has no session yet under "new". */
export const drafts = {
  of: (session) => draftShelf.of(session ?? "new") ?? NOTHING,
  keep(session, draft) {
    if (draft.text || draft.pictures.length) draftShelf.keep(session ?? "new", draft);
    else draftShelf.drop(session ?? "new");
  },
};

/** What a chat that has no session yet is to be made with: `{model?, system_prompt?, params?}`. */
export const newOptions = {
  get: () => optionShelf.of("new") ?? {},
  keep: (options) => optionShelf.keep("new", options),
};

/** What is on its way to the server, see `outbox`. Its ids sort by time. */
export const asks = new Shelf("ask");
/** By session, the seq of the last reply that ended, and of the last whose end was seen, see `unread`. */
export const ends = new Shelf("ended");
export const seen = new Shelf("seen");
/** Sessions that are about to be deleted, see `deletions`. */
export const doomed = new Shelf("doomed");
