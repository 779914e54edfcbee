/** Milliseconds. */
const LONGEST_REST = 300;

let held = false;
let due = null;

/** Nothing is drawn from now on, or what was missed meanwhile. */
export function hold(on) {
  held = on;
  if (held || !due) return;
  requestAnimationFrame(due);
  due = null;
}

/**
 * One drawing per frame, however many events came in between. A drawing that takes long makes the next one wait in
 * proportion, so that however long a reply grows, three quarters of the time are left for the reader's own doings.
 */
export function batched(draw) {
  let waiting = false;
  let rest = 0;
  const frame = () => {
    if (held) return void (due = frame);
    waiting = false;
    const began = performance.now();
    draw();
    const took = performance.now() - began;
    rest = took > 8 ? Math.min(3 * took, LONGEST_REST) : 0;
  };
  return function changed() {
    if (waiting) return;
    waiting = true;
    if (rest) setTimeout(() => requestAnimationFrame(frame), rest);
    else requestAnimationFrame(frame);
  };
}
