/** The conversation as it scrolls. It stays where its reader is: at the end, or wherever they have scrolled to. */

import { copyCode } from "../text/copy.js";
import { Component, html } from "./html.js";
import { icon } from "./icons.js";
import { Message, Pending } from "./message.js";

/** Pixels from the end within which a reader is taken to be reading along, and from the top to fetch what is older. */
const NEAR_END = 48;
const NEAR_TOP = 600;

export class Thread extends Component {
  state = { away: false };
  #along = true;
  #top = 0;
  #sizes = new ResizeObserver(() => this.#along && this.#toEnd());

  componentDidMount() {
    this.#sizes.observe(this.scroller.firstElementChild);
    this.#sizes.observe(this.scroller);
    this.#toEnd();
  }

  componentWillUnmount() {
    this.#sizes.disconnect();
  }

  getSnapshotBeforeUpdate({ messages }) {
    // What is older grows above the reader, who must not notice.
    const older = messages[0]?.id !== this.props.messages[0]?.id;
    return older && messages.length ? this.scroller.scrollHeight - this.scroller.scrollTop : null;
  }

  componentDidUpdate(before, _, fromEnd) {
    if (this.props.pending.length > before.pending.length) this.#follow();
    if (fromEnd !== null && !this.#along) this.scroller.scrollTop = this.scroller.scrollHeight - fromEnd;
    if (this.#along) this.#toEnd();
  }

  #toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #follow = () => {
    this.#along = true;
    this.setState({ away: false });
    this.#toEnd();
  };

  #scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const left = scrollHeight - clientHeight - scrollTop;
    // Only a move upwards is the reader's: the end moves away by itself while a reply is written.
    if (left < NEAR_END) this.#along = true;
    else if (scrollTop < this.#top) this.#along = false;
    this.#top = scrollTop;
    if (scrollTop < NEAR_TOP) this.props.onTop();
    if (this.state.away === this.#along) this.setState({ away: !this.#along });
  };

  render({ messages, pending, stopping, loadingOlder, onAgain }, { away }) {
    const [asked, last] = messages.slice(-2);
    const again = asked?.role === "user" && typeof asked.content === "string" && !pending.length ? onAgain : null;
    return html`
      <div class="scroll" ref=${(place) => (this.scroller = place)} onScroll=${this.#scrolled} onClick=${copyCode}>
        <div class="messages">
          ${loadingOlder && html`<p class="note">Fetching what came before…</p>`}
          ${messages.map((message) => html`<${Message} key=${message.id} message=${message} stopping=${stopping.includes(message.id)} again=${message === last ? again : null} />`)}
          ${pending.map((send) => html`<${Pending} key=${send.id} send=${send} />`)}
        </div>
      </div>
      ${away && html`<button type="button" class="to-end" onClick=${this.#follow} aria-label="To the end">${icon("down")}</button>`}
    `;
  }
}
