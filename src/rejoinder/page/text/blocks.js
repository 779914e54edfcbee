/**
 * Markdown that grows, cut into blocks. Only the last block of a text can still change its meaning when more text comes
 * (a line becomes a table, a list goes on), so all others are read once and keep their identity: whoever draws them
 * has nothing to do for them. A reply of a hundred pages costs no more per token than a short one, since a block that
 * grows beyond measure is cut as well, and code whose end is yet to come is not read again.
 */

import { Lexer } from "../vendor/marked/marked.js";
import { marked } from "./grammar.js";

/** Characters of a paragraph and items of a list after which what follows is a block of its own. */
const LONG = 4000;
const MANY = 40;

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
    const rest = done ? source : copyOf(source.slice(this.#length));
    const blocks = [...this.#settled, ...(openCode(rest, this.#shown[this.#settled.length]) ?? this.#lex(rest))];
    if (!done) this.#settle(blocks);
    this.#text = source;
    this.#shown = blocks.map((fresh, place) => same(this.#shown[place], fresh) ?? fresh);
    return this.#shown;
  }

  /** A block is `{token, raw, links, more}`: the lexer's token, its source, the definitions it was read with as one string,
   *  and whether the next one goes on with it. */
  #lex(source) {
    const tokens = lex(source, this.#links);
    const links = Object.entries(tokens.links).map(([tag, { href, title }]) => `${tag} ${href} ${title}`).join("\n");
    const block = (token, more = false) => ({ token, raw: token.raw, links, more });
    return tokens.flatMap((token) => {
      const pieces = piecesOf(token);
      if (pieces.length < 2) return [block(token)];
      return pieces.flatMap((piece, place) => lex(piece, tokens.links).map((part) => block(part, place < pieces.length - 1)));
    });
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

/** A part of a text would keep the whole of it in memory, at each of its lengths; a copy does not. */
const copyOf = (text) => `${text} `.slice(0, -1);

function lex(source, links) {
  const lexer = new Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  return lexer.lex(source);
}

/** The one block of a rest that is code whose closing fence has not come: found without reading it all again. */
function openCode(rest, had) {
  const fence = had?.token.type === "code" && /^(`{3,}|~{3,})[^\n]*\n/.exec(rest);
  if (!fence || !rest.startsWith(had.raw)) return null;
  // The last line that was not blank is read again: it may be a closing fence, also where its line break had come.
  const unread = rest.lastIndexOf("\n", had.raw.trimEnd().length - 1) + 1;
  const sign = fence[1][0];
  if (new RegExp(`^ {0,3}${sign}{${fence[1].length},}`, "m").test(rest.slice(unread))) return null;
  const text = rest.slice(fence[0].length).replace(/\n$/, "");
  return [{ ...had, raw: rest, token: { ...had.token, raw: rest, text } }];
}

/** The sources of the parts of a token that is too long to be read again for every word that is added to it. */
function piecesOf({ type, raw, items }) {
  if (type === "list" && items.length > MANY) {
    const groups = Array.from({ length: Math.ceil(items.length / MANY) }, (_, part) => items.slice(part * MANY, (part + 1) * MANY));
    return groups.map((group) => group.map((item) => item.raw).join(""));
  }
  const pieces = [];
  while (type === "paragraph" && raw.length > LONG) {
    // Where a letter follows, what follows is a paragraph again.
    const gap = /\s(?=\p{L})/u.exec(raw.slice(LONG));
    if (!gap) break;
    pieces.push(raw.slice(0, LONG + gap.index + 1));
    raw = raw.slice(LONG + gap.index + 1);
  }
  return [...pieces, raw];
}

/** A block that would be drawn the same. Only what has a bracket may mean something else once a definition came. */
function same(had, fresh) {
  if (!had || had.raw !== fresh.raw || had.more !== fresh.more || had.token.type !== fresh.token.type) return null;
  return had.links === fresh.links || !fresh.raw.includes("[") ? had : null;
}

/** The HTML of one block. What it is made of was written by a model: only `safeFragment` may show it. */
export function htmlOf({ token }) {
  return marked.parser([token]);
}
