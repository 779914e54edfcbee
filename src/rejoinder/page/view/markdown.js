/** Markdown as it grows: each block draws itself, and again only when it changed. */

import { Blocks, htmlOf } from "../text/blocks.js";
import { safeFragment } from "../text/safe.js";
import { Component, html, memo, useLayoutEffect, useRef } from "./html.js";

export class Markdown extends Component {
  #blocks = new Blocks();

  render({ text, done }) {
    const blocks = this.#blocks.read(text, done);
    return html`<div class="markdown">${blocks.map((block, place) => html`<${Block} key=${place} block=${block} />`)}</div>`;
  }
}

const Block = memo(({ block }) => {
  const place = useRef();
  useLayoutEffect(() => place.current.replaceChildren(safeFragment(htmlOf(block))), [block]);
  return html`<div ref=${place} dir="auto"></div>`;
});
