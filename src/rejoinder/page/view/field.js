/** The field of the composer, for what lies elsewhere on the page. */

import { hovers } from "./composes.js";

export const field = () => document.querySelector(".composer textarea");

/** Lets one write on there. On a phone the keyboard would come up. */
export function writeOn() {
  if (hovers()) field().focus({ preventScroll: true });
}
