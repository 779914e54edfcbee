/** The conversation as it scrolls. It stays where its reader is: at the end, or wherever they have scrolled to. */

import { copyCode } from "../text/copy.js";
import { Component, html } from "./html.js";
import { icon } from "./icons.js";
import { Message, Pending } from "./message.js";

/** Pixels from the end within which a reader is taken to be reading along, and from the top to fetch what is older. */
const NEAR_END = 48;
const NEAR_TOP = 600;
/** Milliseconds for which a message that was looked for is marked. */
const SOUGHT = 2500;

export class Thread extends Component {
  state = { away: false };
  #along = true;
  #held = false; // while a finger lies on it nothing moves but by the finger
  #top = 0;
  #sizes = new ResizeObserver(() => this.#keepUp());

  componentDidMount() {
    const passive = { passive: true }; // it scrolls without waiting for us
    this.scroller.addEventListener("wheel", this.#wheeled, passive);
    this.scroller.addEventListener("touchstart", this.#touched, passive);
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
    if (fromEnd !== null && !this.#along) this.#moveTo(this.scroller.scrollHeight - fromEnd);
    this.#keepUp();
    this.#toTarget();
    if (focus && document.activeElement === document.body) this.#refocus(focus);
  }

  /** Goes to the message that was asked for, once it is there. */
  #toTarget() {
    const { target } = this.props;
    const message = target && this.scroller.querySelector(`[data-message="${target}"]`);
    if (!message) return;
    message.scrollIntoView({ block: "center" });
    this.#top = this.scroller.scrollTop;
    this.#read(this.#left < NEAR_END);
    message.focus({ preventScroll: true });
    message.classList.add("sought");
    setTimeout(() => message.classList.remove("sought"), SOUGHT);
    this.props.onTarget();
  }

  /** Where another version took the place of the message that had the focus, it goes to the same button there. */
  #refocus({ place, label }) {
    const message = this.scroller.querySelectorAll(".message")[place];
    const button = [...(message?.querySelectorAll("button") ?? [])].find((one) => one.ariaLabel === label && !one.disabled);
    (button ?? message)?.focus({ preventScroll: true });
  }

  /** Pixels between what is seen and the end. */
  get #left() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    return scrollHeight - clientHeight - scrollTop;
  }

  /** Moves by itself, which is no doing of the reader's. */
  #moveTo(top) {
    this.scroller.scrollTop = top;
    this.#top = this.scroller.scrollTop;
  }

  #toEnd() {
    this.#moveTo(this.scroller.scrollHeight);
  }

  #keepUp() {
    if (this.#along && !this.#held) this.#toEnd();
  }

  #read(along) {
    this.#along = along;
    if (this.state.away === along) this.setState({ away: !along });
  }

  #follow = () => {
    this.#read(true);
    this.#toEnd();
  };

  /** The end moves away while a reply is written, so however small a move upwards is, it leaves; only one down to the end comes back. */
  #scrolled = () => {
    const { scrollTop } = this.scroller;
    const moved = scrollTop - this.#top;
    this.#top = scrollTop;
    if (moved < 0 && this.#left > 1) this.#read(false); // at the end, it is what is shown that became shorter
    else if (moved > 0 && this.#left < NEAR_END) this.#read(true);
    if (scrollTop < NEAR_TOP) this.props.onTop();
  };

  /** A wheel is told of before it scrolls: else its first small steps would be undone by what is written meanwhile. */
  #wheeled = ({ deltaY, ctrlKey }) => {
    if (ctrlKey) return; // it zooms
    if (deltaY < 0 && this.scroller.scrollTop > 0) this.#read(false);
    if (deltaY > 0 && this.#left < NEAR_END) this.#read(true);
  };

  #touched = ({ type, target, touches }) => {
    this.#held = touches.length > 0;
    // What lies under the finger may be drawn anew meanwhile, and is told of its end all the same.
    if (type === "touchstart") for (const end of ["touchend", "touchcancel"]) target.addEventListener(end, this.#touched, { once: true });
    this.#keepUp();
  };

  render({ messages, pending, stopping, loadingOlder, steering, editing, onEdit }, { away }) {
    const last = pending.length ? null : messages.at(-1);
    return html`
      <div class="scroll" ref=${(place) => (this.scroller = place)} onScroll=${this.#scrolled} onClick=${(event) => steering.attempt(() => copyCode(event))}>
        <div class="messages">
          ${loadingOlder && html`<p class="note">Fetching what came before…</p>`}
          ${messages.map((message, place) => html`<${Message} key=${message.id} message=${message} stopping=${stopping.includes(message.id)} last=${message === last}
            steering=${steering} editing=${editing === message.id} onEdit=${onEdit} called=${message.role === "tool" ? calledOf(messages, place) : null} />`)}
          ${pending.map((ask) => html`<${Pending} key=${ask.id} ask=${ask} steering=${steering} />`)}
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
