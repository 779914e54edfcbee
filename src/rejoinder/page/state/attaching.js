/** Files on their way into a draft: pictures become the address that is sent, everything else has to be text. */

import { fileOf } from "./files.js";
import { outcome } from "./outcome.js";
import { addressOf, KINDS } from "./pictures.js";
import { isFile } from "./steering.js";

/** Pictures of a message. A body may have 8 MiB. */
const MOST = 6;

/** `{values, problem}`: what is attached for those files that can be, and what is wrong with the others. Throws an Error where there are too many. */
export async function attachedOf(files, had) {
  const isPicture = ({ type }) => KINDS.includes(type);
  const pictures = [...had.filter((one) => !isFile(one)), ...files.filter(isPicture)];
  if (pictures.length > MOST) throw new Error(`A message may have ${MOST} pictures.`);
  return outcome(await Promise.allSettled(files.map((file) => (isPicture(file) ? addressOf(file) : fileOf(file)))));
}
