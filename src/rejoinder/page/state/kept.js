/**
 * What this browser keeps so that nothing is lost before the server has it: drafts, and what is on its way. Each has a
 * key of its own, so that two tabs never write over each other. Where storage is refused or full, memory stands in.
 */

/** Of one kind of thing, by name; of a chat that has no session yet under "new". */
class Shelf {
  #prefix;
  #memory = new Map();

  constructor(kind) {
    this.#prefix = `rejoinder.${kind}.`;
  }

  keyOf(name) {
    return this.#prefix + (name ?? "new");
  }

  of(name) {
    const text = this.#memory.get(name) ?? stored((storage) => storage.getItem(this.keyOf(name)));
    return text ? JSON.parse(text) : null;
  }

  keep(name, value) {
    const text = JSON.stringify(value);
    this.#memory.delete(name);
    if (stored((storage) => (storage.setItem(this.keyOf(name), text), true))) return;
    this.drop(name);
    this.#memory.set(name, text);
  }

  drop(name) {
    this.#memory.delete(name);
    stored((storage) => storage.removeItem(this.keyOf(name)));
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

const draftShelf = new Shelf("draft");
const attachedShelf = new Shelf("attached");
const optionShelf = new Shelf("options");

/**
 * What is written and not sent, `{text, attached}`, by session; and by message, what it is to be instead. What is attached
 * (`steering` tells how) has keys of its own: it may be too large to keep, and the text is kept then.
 */
export const drafts = {
  of: (name) => ({ text: "", attached: attachedShelf.of(name) ?? [], ...draftShelf.of(name) }),
  /** Keeps what is given of it. */
  keep(name, { text, attached }) {
    if (text !== undefined) put(draftShelf, name, text && { text });
    if (attached) put(attachedShelf, name, attached.length && attached);
  },
  /** Drops what was sent: not what another tab has written there since. */
  drop(name, { text, attached }) {
    const kept = drafts.of(name);
    drafts.keep(name, { text: kept.text === text ? "" : undefined, attached: `${kept.attached}` === `${attached}` ? [] : undefined });
  },
  /** Whether an event of the storage tells that another tab has dropped a draft, and not one like this. */
  dropped: (name, { text }, { key, oldValue }) =>
    key === draftShelf.keyOf(name) && oldValue !== JSON.stringify({ text }) && !draftShelf.of(name),
};

function put(shelf, name, value) {
  if (value) shelf.keep(name, value);
  else shelf.drop(name);
}

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
