/**
 * Markdown that grows, cut into blocks. Only the last block of a text can still change its meaning when more text comes
 * (a line becomes a table, a list goes on), so all others are read once and keep their identity: whoever draws them
 * has nothing to do for them. A reply of a hundred pages costs no more per token than a short one.
 */

import { Lexer, Marked } from "../vendor/marked/marked.js";

/** Tags that pass as they are written here, without any attribute. All other HTML is shown as the text that it is. */
const PLAIN_TAG = /&#60;(\/?(?:b|br|del|em|i|ins|kbd|mark|s|small|strong|sub|sup|u))\s*\/?&#62;/gi;

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  renderer: { html: ({ text }) => escaped(text.replace(/<!--.*?-->/gs, "")).replace(PLAIN_TAG, "<$1>") },
});

export class Blocks {
  #text = "";
  #settled = []; // blocks that cannot change any more
  #length = 0; // characters of the text that they cover
  #links = {}; // their definitions like `[1]: https://…`, which hold for the whole text
  #shown = [];

  /** The blocks of a text. `done` tells that no more will come, and then definitions also hold for what stands before them. */
  read(text, done) {
    const source = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    if (!source.startsWith(this.#text) || done) [this.#settled, this.#length, this.#links] = [[], 0, {}];
    const blocks = [...this.#settled, ...this.#lex(source.slice(this.#length))];
    if (!done) this.#settle(blocks);
    this.#text = source;
    this.#shown = blocks.map((fresh, place) => same(this.#shown[place], fresh) ?? fresh);
    return this.#shown;
  }

  /** A block is `{token, raw, links}`: the lexer's token, its source, and how many definitions it was read with. */
  #lex(source) {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, this.#links);
    const tokens = lexer.lex(source);
    const links = Object.keys(tokens.links).length;
    return tokens.map((token) => ({ token, raw: token.raw, links }));
  }

  /** Everything before the last block that is more than white space is settled. */
  #settle(blocks) {
    const last = blocks.findLastIndex(({ token }) => token.type !== "space");
    for (const { token, raw } of blocks.slice(this.#settled.length, Math.max(last, 0))) {
      this.#length += raw.length;
      if (token.type === "def") this.#links[token.tag] ??= { href: token.href, title: token.title };
    }
    this.#settled = blocks.slice(0, Math.max(last, 0));
  }
}

/** A block that would be drawn the same. Only what has a bracket may mean something else once a definition came. */
function same(had, fresh) {
  if (!had || had.raw !== fresh.raw || had.token.type !== fresh.token.type) return null;
  return had.links === fresh.links || !fresh.raw.includes("[") ? had : null;
}

/** The HTML of one block. What it is made of was written by a model: only `safeFragment` may show it. */
export function htmlOf({ token }) {
  return marked.parser([token]);
}
