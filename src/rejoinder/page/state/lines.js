/**
 * The streams of sessions that all tabs of a browser hold at once. Over HTTP/1.1 it has six connections to a server: four
 * of these streams leave one for the overview and one for whatever else is asked. The browser's locks count them; where it
 * grants none, nobody counts.
 */

const LINES = [1, 2, 3, 4].map((number) => `rejoinder.line.${number}`);

/** Whether the page may use the browser's locks. Not where it comes neither over TLS nor from loopback, nor where it may keep nothing (cookies are blocked). */
export const granted = async () => Boolean(await navigator.locks?.query().catch(() => null));

/**
 * Reads while a line is held: `read` gets a signal that tells of its loss. Returns false where all are held; with `taking`,
 * one of another tab is taken then.
 */
export async function withLine(taking, read) {
  if (!(await granted())) return read(new AbortController().signal).then(() => true);
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
