/**
 * The Markdown that is read here: GitHub's, with mathematics, and with HTML as the text that it is. A formula stands
 * between `$…$` or `\(…\)` in a line, and between `$$…$$` or `\[…\]` on its own; two prices in a line are no formula.
 */

import { Marked } from "../vendor/marked/marked.js";

/** Tags that pass as they are written here, without any attribute. All other HTML is shown as the text that it is. */
const PLAIN_TAG = /&#60;(\/?(?:b|br|del|em|i|ins|kbd|mark|s|small|strong|sub|sup|u))\s*\/?&#62;/gi;

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

// No formula holds an empty line: then what stands before one can be settled while the text grows.
const BODY = String.raw`((?:(?!\n[ \t]*\n)[\s\S])+?)`;
const SHOWN = String.raw`(?:\$\$${BODY}\$\$|\\\[${BODY}\\\])`;
const ALONE = new RegExp(String.raw`^ {0,3}${SHOWN}[ \t]*(?:\n+|$)`);
const IN_LINE = [
  [new RegExp(`^${SHOWN}`), true],
  [new RegExp(String.raw`^\\\(${BODY}\\\)`), false],
  [/^\$(?![\s$])((?:\\.|[^\\$\n])+?)(?<![\s\\])\$(?![\d$])/, false],
];

const token = (type, [raw, ...bodies], shown) => ({ type, raw, shown, text: bodies.find(Boolean).trim() });

const formulaAlone = {
  name: "formulaAlone",
  level: "block",
  start: (source) => /^ {0,3}(?:\$\$|\\\[)/m.exec(source)?.index,
  tokenizer(source) {
    const match = ALONE.exec(source);
    return match?.slice(1).some((body) => body?.trim()) ? token("formulaAlone", match, true) : undefined;
  },
  renderer: (formula) => `<p>${written(formula)}</p>`,
};

const formula = {
  name: "formula",
  level: "inline",
  start: (source) => /\$|\\[([]/.exec(source)?.index,
  tokenizer(source) {
    for (const [pattern, shown] of IN_LINE) {
      const match = pattern.exec(source);
      if (match?.slice(1).some((body) => body?.trim())) return token("formula", match, shown);
    }
  },
  renderer: (formula) => written(formula),
};

/** As code, which `math` sets as a formula once it is in the page. */
const written = ({ text, shown }) => `<code class="${shown ? "math shown" : "math"}">${escaped(text)}</code>`;

export const marked = new Marked({
  gfm: true,
  extensions: [formulaAlone, formula],
  renderer: { html: ({ text }) => escaped(text.replace(/<!--.*?-->/gs, "")).replace(PLAIN_TAG, "<$1>") },
});
