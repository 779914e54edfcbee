/**
 * A block of code, which may still be growing: what is added is appended, and what has been coloured is coloured again
 * only when it has grown by a quarter, so that a file of a thousand lines costs no more per line than a short one.
 */

import { coloured, learn } from "../text/dress.js";
import { Component, html } from "./html.js";

export class Code extends Component {
  #text = ""; // as it is shown
  #painted = 0; // characters of it that are coloured
  #last = null; // the text node behind them, which grows

  componentDidMount() {
    this.#show();
  }

  componentDidUpdate() {
    this.#show();
  }

  shouldComponentUpdate({ block, growing }) {
    return block !== this.props.block || growing !== this.props.growing;
  }

  #show() {
    const { block, growing } = this.props;
    const { text } = block.token;
    const grown = text.startsWith(this.#text);
    if (grown && this.#last) this.#last.appendData(text.slice(this.#text.length));
    else this.#plain(text);
    this.#text = text;
    const unpainted = text.length - this.#painted;
    if (unpainted > 0 && (!growing || unpainted > Math.max(200, this.#painted / 4) || text.length < 2000)) this.#paint();
  }

  #plain(text) {
    this.#last = document.createTextNode(text);
    this.#painted = 0;
    this.code.replaceChildren(this.#last);
  }

  #paint() {
    const language = languageOf(this.props.block);
    if (!language) return;
    const fragment = coloured(this.#text, language);
    if (fragment) {
      this.#last = document.createTextNode("");
      this.#painted = this.#text.length;
      this.code.replaceChildren(fragment, this.#last);
    } else {
      learn(language).then((known) => known && this.code?.isConnected && this.#painted === 0 && this.#paint(), console.warn);
    }
  }

  render({ block }) {
    return html`
      <figure class="code">
        <figcaption><span>${languageOf(block) || "text"}</span><button type="button" class="copy">Copy</button></figcaption>
        <pre tabindex="0" aria-label="Code"><code ref=${(code) => (this.code = code)} /></pre>
      </figure>
    `;
  }
}

const languageOf = ({ token }) => /^\S*/.exec(token.lang ?? "")[0];
