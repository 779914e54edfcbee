/** Listens on the window, by the names of events. Returns what ends it. */
export function listening(listeners, capture = false) {
  for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener, capture);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener, capture);
  };
}
