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
    this.#toTarget(); // on a busy machine all was fetched before the first of it is drawn
  }

  componentWillUnmount() {
    this.#sizes.disconnect();
  }

  getSnapshotBeforeUpdate({ messages }) {
    // What is older grows above the reader, who must not notice.
    const older = messages[0]?.id !== this.props.messages[0]?.id;
    const fromEnd = older && messages.length ? this.scroller.scrollHeight - this.scroller.scrollTop : null;
    return { fromEnd, focus: placeOf(document.activeElement) };
  }

  componentDidUpdate(before, _, { fromEnd, focus }) {
    if (this.props.pending.some(({ id, at }) => at === undefined && before.pending.every((had) => had.id !== id))) this.#follow();
    if (fromEnd !== null && !this.#along) this.scroller.scrollTop = this.scroller.scrollHeight - fromEnd;
    if (this.#along) this.#toEnd();
    this.#toTarget();
    if (focus && document.activeElement === document.body) this.#refocus(focus);
  }

  /** Goes to the message that was asked for, once it is there. */
  #toTarget() {
    const { target } = this.props;
    const message = target && this.scroller.querySelector(`[data-message="${target}"]`);
    if (!message) return;
    this.#along = false;
    message.scrollIntoView({ block: "center" });
    message.focus({ preventScroll: true });
    this.props.onTarget();
  }

  /** Where another version took the place of the message that had the focus, it goes to the same button there. */
  #refocus({ place, label }) {
    const message = this.scroller.querySelectorAll(".message")[place];
    const button = [...(message?.querySelectorAll("button") ?? [])].find((one) => one.ariaLabel === label && !one.disabled);
    (button ?? message)?.focus({ preventScroll: true });
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

  render({ messages, pending, stopping, loadingOlder, steering, editing, onEdit }, { away }) {
    const last = pending.length ? null : messages.at(-1);
    return html`
      <div class="scroll" ref=${(place) => (this.scroller = place)} onScroll=${this.#scrolled} onClick=${copyCode}>
        <div class="messages">
          ${loadingOlder && html`<p class="note">Fetching what came before…</p>`}
          ${messages.map((message, place) => html`<${Message} key=${message.id} message=${message} stopping=${stopping.includes(message.id)} last=${message === last}
            steering=${steering} editing=${editing === message.id} onEdit=${onEdit} called=${message.role === "tool" ? calledOf(messages, place) : null} />`)}
          ${pending.map((ask) => html`<${Pending} key=${ask.id} ask=${ask} />`)}
        </div>
      </div>
      ${away && html`<button type="button" class="to-end" onClick=${this.#follow} aria-label="To the newest" title="To the newest">${icon("down")}</button>`}
    `;
  }
}

/** Which message has the focus, and in which of its buttons. */
function placeOf(element) {
  const message = element?.closest(".message");
  return message && { place: [...document.querySelectorAll(".messages .message")].indexOf(message), label: element.ariaLabel };
}

/** The name of the tool whose answer stands at a place: that of the call before it with the same id. */
function calledOf(messages, place) {
  const { tool_call_id } = messages[place];
  const calls = messages.slice(0, place).flatMap(({ tool_calls }) => tool_calls ?? []);
  return calls.findLast(({ id }) => id === tool_call_id)?.function.name ?? "";
}
