/** What is done to a part of a text once it is in the page: its formulas are set and its code is coloured. */

import { coloured, learn } from "./highlight.js";
import { typeset } from "./math.js";
import { languageOf } from "./safe.js";

export function dress(place) {
  typeset(place);
  for (const code of place.querySelectorAll("pre code[class]")) colour(code, languageOf(code));
}

/** Colours an element of code, at once where its language is here. */
export function colour(code, language) {
  const fragment = coloured(code.textContent, language);
  if (fragment) return code.replaceChildren(fragment);
  learn(language).then(
    (known) => known && code.isConnected && colour(code, language),
    (problem) => console.warn("Code stays without colours:", problem),
  );
}
