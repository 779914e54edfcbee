/**
 * What this browser keeps so that nothing is lost before the server has it: drafts, and messages on their way. Each has
 * a key of its own, so that two tabs never write over each other. Where storage is refused, memory stands in.
 */

const DRAFT = "rejoinder.draft.";
const SEND = "rejoinder.send.";

const storage = (() => {
  try {
    localStorage.setItem("rejoinder.test", "");
    localStorage.removeItem("rejoinder.test");
    return localStorage;
  } catch {
    const map = new Map();
    return {
      getItem: (key) => map.get(key) ?? null,
      setItem: (key, value) => map.set(key, value),
      removeItem: (key) => map.delete(key),
      get length() {
        return map.size;
      },
      key: (index) => [...map.keys()][index],
    };
  }
})();

export const drafts = {
  /** The draft of a session; of a chat that has no session yet under "new". */
  of: (session) => storage.getItem(DRAFT + (session ?? "new")) ?? "",
  keep(session, text) {
    if (text) storage.setItem(DRAFT + (session ?? "new"), text);
    else storage.removeItem(DRAFT + (session ?? "new"));
  },
};

/** Messages on their way: `{id, session, content, title, create}`, the body of each being the same at every attempt. */
export const sends = {
  all() {
    const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index));
    const kept = keys.filter((key) => key.startsWith(SEND)).map((key) => JSON.parse(storage.getItem(key)));
    return kept.sort((one, other) => (one.id < other.id ? -1 : 1)); // ids sort by time
  },
  keep: (send) => storage.setItem(SEND + send.id, JSON.stringify(send)),
  drop: (send) => storage.removeItem(SEND + send.id),
};
