/**
 * While a button is pressed nothing is drawn: what stands below a reply moves down with each of its lines, and the button
 * would slip from under the finger, so that the press were none.
 */

import { hold } from "./batched.js";
import { useEffect } from "./html.js";
import { listening } from "./listening.js";

/** Milliseconds: the end of a press can go missing, behind a menu of the browser for one. */
const LONGEST = 1000;

export function Pressed() {
  useEffect(() => {
    let timer = 0;
    const release = () => {
      clearTimeout(timer);
      hold(false);
    };
    const onDown = ({ target }) => {
      if (!target.closest("button")) return;
      clearTimeout(timer);
      hold(true);
      timer = setTimeout(release, LONGEST);
    };
    const onEnd = () => setTimeout(release); // behind the click, which has its say first
    const leave = listening({ pointerdown: onDown, pointerup: onEnd, pointercancel: onEnd }, true);
    return () => {
      leave();
      release();
    };
  }, []);
  return null;
}
