/**
 * What this browser keeps so that nothing is lost before the server has it: drafts, and what is on its way. Each has a
 * key of its own, so that two tabs never write over each other. Where storage is refused or full, memory stands in.
 */

/** Of one kind of thing, by name; of a chat that has no session yet under "new". `where` says whose: the browser's, or the tab's. */
class Shelf {
  #prefix;
  #where;
  #memory = new Map();

  constructor(kind, where = "localStorage") {
    [this.#prefix, this.#where] = [`rejoinder.${kind}.`, where];
  }

  #key(name) {
    return this.#prefix + (name ?? "new");
  }

  of(name) {
    const text = this.#text(name);
    return text ? JSON.parse(text) : null;
  }

  has(name) {
    return Boolean(this.#text(name));
  }

  #text(name) {
    return this.#memory.get(name) ?? this.#stored((storage) => storage.getItem(this.#key(name)));
  }

  keep(name, value) {
    const text = JSON.stringify(value);
    this.#memory.delete(name);
    if (this.#stored((storage) => (storage.setItem(this.#key(name), text), true))) return;
    this.drop(name);
    this.#memory.set(name, text);
  }

  drop(name) {
    this.#memory.delete(name);
    this.#stored((storage) => storage.removeItem(this.#key(name)));
  }

  /** Every value, in the order of their names. */
  all() {
    const keys = this.#stored((storage) => Array.from({ length: storage.length }, (_, index) => storage.key(index))) ?? [];
    const names = keys.filter((key) => key.startsWith(this.#prefix)).map((key) => key.slice(this.#prefix.length));
    return [...new Set([...names, ...this.#memory.keys()])].sort().map((name) => this.of(name));
  }

  /** What the storage makes of a request; undefined where it refuses. */
  #stored(request) {
    try {
      return request(window[this.#where]);
    } catch {
      return undefined;
    }
  }
}

/** What is attached (`steering` tells how) has keys of its own: it may be too large to keep, and the text is kept then. */
class Drafts {
  constructor(where) {
    [this.texts, this.attached] = [new Shelf("draft", where), new Shelf("attached", where)];
  }

  has(name) {
    return this.texts.has(name) || this.attached.has(name);
  }

  of(name) {
    return { text: "", attached: this.attached.of(name) ?? [], ...this.texts.of(name) };
  }

  keep(name, { text, attached }) {
    if (text !== undefined) put(this.texts, name, text && { text });
    if (attached) put(this.attached, name, attached.length && attached);
  }
}

const own = new Drafts("sessionStorage");
const newest = new Drafts("localStorage");

/**
 * What is written and not sent, `{text, attached}`, by session; and by message, what it is to be instead. A tab keeps its
 * own, and where it has none it begins with the newest of all tabs.
 */
export const drafts = {
  of: (name) => (own.has(name) ? own : newest).of(name),
  /** Keeps what is given of it. */
  keep(name, change) {
    own.keep(name, own.has(name) ? change : { ...newest.of(name), ...change });
    newest.keep(name, change);
  },
  /** Drops what was sent: not what another tab has written there since. */
  drop(name, { text, attached }) {
    const kept = newest.of(name);
    own.keep(name, { text: "", attached: [] });
    newest.keep(name, { text: kept.text === text ? "" : undefined, attached: `${kept.attached}` === `${attached}` ? [] : undefined });
  },
  /** Hears of the storage: where another tab has dropped the newest, the same went here, and anything else is the newest now. */
  dropped({ key, oldValue, newValue }) {
    const mine = newValue === null && sessionStorage.getItem(key);
    if (mine === oldValue) sessionStorage.removeItem(key);
    else if (mine) localStorage.setItem(key, mine);
  },
};

function put(shelf, name, value) {
  if (value) shelf.keep(name, value);
  else shelf.drop(name);
}

const optionShelf = new Shelf("options");

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
