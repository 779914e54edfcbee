/**
 * The streams of sessions that all tabs of a browser hold at once. Over HTTP/1.1 it has six connections to a server: four
 * of these streams leave one for the overview and one for whatever else is asked. The browser's locks count them; where it
 * has none (pages that are served neither over TLS nor from loopback) nobody counts.
 */

const LINES = [1, 2, 3, 4].map((number) => `rejoinder.line.${number}`);

/**
 * Reads while a line is held: `read` gets a signal that tells of its loss. Returns false where all are held; with `taking`,
 * one of another tab is taken then.
 */
export async function withLine(taking, read) {
  if (!navigator.locks) return read(new AbortController().signal).then(() => true);
  for (const line of LINES) if (await held(line, { ifAvailable: true }, read)) return true;
  return taking && held(LINES[Math.floor(LINES.length * Math.random())], { steal: true }, read);
}

async function held(line, options, read) {
  const lost = new AbortController();
  let reading = null;
  const withLock = (lock) => (reading = lock && read(lost.signal));
  try {
    await navigator.locks.request(line, options, withLock);
  } catch (problem) {
    if (problem.name !== "AbortError") throw problem;
    lost.abort(); // another tab took it
    await reading;
  }
  return reading !== null;
}
