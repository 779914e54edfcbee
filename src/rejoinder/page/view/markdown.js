/** Markdown as it grows: each block draws itself, and again only when it changed. */

import { Blocks, htmlOf } from "../text/blocks.js";
import { dress } from "../text/dress.js";
import { safeFragment } from "../text/safe.js";
import { Code } from "./code.js";
import { Component, html, memo, useLayoutEffect, useRef } from "./html.js";

export class Markdown extends Component {
  #blocks = new Blocks();

  shouldComponentUpdate({ text, done }) {
    return text !== this.props.text || done !== this.props.done;
  }

  render({ text, done }) {
    const blocks = this.#blocks.read(text, done);
    const last = blocks.length - 1;
    return html`
      <div class="markdown">
        ${blocks.map((block, place) =>
          block.token.type === "code"
            ? html`<div key=${`code ${place}`}><${Code} block=${block} growing=${!done && place === last} /></div>`
            : html`<${Block} key=${place} block=${block} />`,
        )}
      </div>
    `;
  }
}

const Block = memo(({ block }) => {
  const place = useRef();
  useLayoutEffect(() => {
    place.current.replaceChildren(safeFragment(htmlOf(block)));
    dress(place.current);
  }, [block]);
  return html`<div ref=${place} dir="auto" class=${block.more ? "more" : undefined}></div>`;
});
