/** Markdown as it grows: each block draws itself, and again only when it changed. */

import { Blocks, htmlOf } from "../text/blocks.js";
import { dress } from "../text/dress.js";
import { grow } from "../text/grow.js";
import { safeFragment } from "../text/safe.js";
import { Code } from "./code.js";
import { Component, html, memo, useLayoutEffect, useRef } from "./html.js";

/** Characters of a text that is being written which are added in one frame. More wait for the next. */
const PORTION = 10_000;

export class Markdown extends Component {
  #blocks = new Blocks();
  #shown = this.props.done ? Infinity : 0; // characters that are drawn

  shouldComponentUpdate({ text, done }) {
    return text !== this.props.text || done !== this.props.done;
  }

  componentDidMount() {
    this.componentDidUpdate();
  }

  componentDidUpdate() {
    if (this.#shown < this.props.text.length) requestAnimationFrame(() => this.forceUpdate());
  }

  render({ text, done }) {
    const behind = text.length > this.#shown + PORTION;
    if (behind) this.#shown += PORTION;
    else if (this.#shown < Infinity) this.#shown = text.length;
    const blocks = this.#blocks.read(behind ? text.slice(0, this.#shown) : text, done && !behind);
    const last = blocks.length - 1;
    return html`<div class="markdown">${blocks.map((block, place) => viewOf(block, place, place === last && !done))}</div>`;
  }
}

function viewOf(block, place, growing) {
  if (block.token.type === "space") return null;
  if (block.token.type === "code") return html`<div key=${`code ${place}`}><${Code} block=${block} growing=${growing} /></div>`;
  return html`<${Block} key=${place} block=${block} growing=${growing} />`;
}

const Block = memo(({ block, growing }) => {
  const place = useRef();
  const had = useRef(null); // what is shown, before it was dressed, as long as it grows
  useLayoutEffect(() => {
    const fresh = safeFragment(htmlOf(block));
    if (had.current) grow(place.current, had.current, fresh);
    else place.current.replaceChildren(growing ? fresh.cloneNode(true) : fresh);
    had.current = growing ? fresh : null;
    dress(place.current);
  }, [block]);
  useLayoutEffect(() => {
    if (!growing) had.current = null;
  }, [growing]);
  return html`<div ref=${place} dir="auto" class=${block.more ? "more" : undefined}></div>`;
});
