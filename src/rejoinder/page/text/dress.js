/**
 * What is done to a part of a text once it is in the page: its formulas are set and its code is coloured. What does it
 * comes with the first code and the first formula.
 */

import { languageOf } from "./safe.js";
import { stylesheet } from "./stylesheet.js";

let highlight = null;
let colours = null; // their stylesheet, on its way
let math = null;
const dressed = new WeakSet(); // code that has its colours: what stays while a text grows is dressed once

export function dress(place) {
  if (place.querySelector("code.math")) typeset(place);
  for (const code of place.querySelectorAll("pre code[class]")) if (!dressed.has(code)) colour(code, languageOf(code));
}

function typeset(place) {
  if (math) return math.typeset(place);
  import("./math.js").then(
    (module) => (math = module).typeset(place),
    (problem) => console.warn("Formulas stay as they are written:", problem),
  );
}

/** Colours an element of code, at once where its language is here. */
function colour(code, language) {
  const fragment = coloured(code.textContent, language);
  if (fragment) return dressed.add(code), code.replaceChildren(fragment);
  learn(language).then(
    (known) => known && code.isConnected && colour(code, language),
    (problem) => console.warn("Code stays without colours:", problem),
  );
}

/** The code as coloured pieces, or null where its language is not here (yet). */
export const coloured = (text, language) => highlight?.coloured(text, language) ?? null;

/** Settles once code in this language can be coloured: with true, or false for a language that is not known here. */
export async function learn(language) {
  colours ??= stylesheet("../style/code.css");
  highlight ??= await import("./highlight.js");
  return highlight.learn(language);
}
