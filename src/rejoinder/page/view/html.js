/** Preact and htm, tied together: the one place that knows where they are. */

import { Component, h, render } from "../vendor/preact/preact.js";
import htm from "../vendor/htm/htm.js";

export { useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact/hooks.js";
export { Component, render };

export const html = htm.bind(h);

/** A view that is drawn again only when one of its properties is another one. What comes from a fold keeps its identity. */
export function memo(View) {
  return class extends Component {
    shouldComponentUpdate(next) {
      return Object.keys(next).some((name) => next[name] !== this.props[name]);
    }
    render(properties) {
      return html`<${View} ...${properties} />`;
    }
  };
}
