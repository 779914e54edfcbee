/** A reply as one may hear it: plain text without the signs of Markdown, and cut into sentences. */

const CODE = /^ {0,3}(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^ {0,3}\1|$(?![\s\S]))/gm;
const END = /[.!?…。！？:](?=["”’)\]]*\s)|\n+/g;

/** The text without what only the eye reads. Code is named and not read out. */
export function spoken(markdown) {
  return markdown
    .replace(CODE, "\nCode.\n")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^\s*\|?[\s:|-]+\|?\s*$/gm, "")
    .replace(/^ {0,3}(?:#{1,6}|>|[-*+]|\d+[.)])\s+/gm, "")
    .replace(/[*_`~|]+/g, " ")
    .replace(/[ \t]+/g, " ");
}

/** How much of a growing text is whole sentences. */
export function lengthOfSentences(text) {
  let length = 0;
  for (const { index, 0: sign } of text.matchAll(END)) length = index + sign.length;
  return length;
}
