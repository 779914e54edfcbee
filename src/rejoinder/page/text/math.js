/**
 * Formulas, set by KaTeX, which comes with the first of them. It may neither link nor fetch, and builds its elements by
 * itself: no HTML is parsed. What it cannot read stays as it was written.
 */

import { stylesheet } from "./stylesheet.js";

const OPTIONS = { output: "htmlAndMathml", throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 500 };
/** Formulas that are kept set: the last block of a reply is drawn again with each word. */
const KEPT = 200;

let katex = null;
let coming = null;
const kept = new Map();

/** Sets the formulas in a part of the page, at once where it can. */
export function typeset(place) {
  if (katex) setAll(place);
  else fetchKatex().then(() => setAll(place), (problem) => console.warn("Formulas stay as they are written:", problem));
}

function setAll(place) {
  for (const code of place.querySelectorAll("code.math")) {
    const set = formula(code.textContent, code.classList.contains("shown"));
    if (set) code.replaceWith(set.cloneNode(true));
    else code.classList.remove("math");
  }
}

function formula(text, shown) {
  const key = `${shown} ${text}`;
  if (!kept.has(key)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, build(text, shown));
  }
  return kept.get(key);
}

function build(text, shown) {
  try {
    const tree = katex.__renderToDomTree(text, { ...OPTIONS, displayMode: shown });
    laterStyles(tree);
    const element = tree.toNode();
    for (const styled of element.querySelectorAll("[data-style]")) {
      styled.style.cssText = styled.dataset.style;
      styled.removeAttribute("data-style");
    }
    if (shown) Object.assign(element, { tabIndex: 0, role: "group", ariaLabel: "Formula" }); // it may be so wide that it scrolls
    return element;
  } catch {
    return null;
  }
}

/** The page's policy forbids attributes of style (though not styles set by script): they wait under another name. */
function laterStyles({ attributes, children = [] }) {
  if (attributes?.style) {
    attributes["data-style"] = attributes.style;
    delete attributes.style;
  }
  children.forEach(laterStyles);
}

function fetchKatex() {
  // Without its styles a formula is there twice: once to be seen, once to be read aloud.
  coming ??= Promise.all([stylesheet("../vendor/katex/katex.css"), import("../vendor/katex/katex.js")]).then(
    () => (katex = globalThis.katex),
    (problem) => {
      coming = null; // the next formula asks again
      throw problem;
    },
  );
  return coming;
}
