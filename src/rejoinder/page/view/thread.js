/**
 * The conversation as it scrolls. It stays where its reader is: at the end, or wherever they have scrolled to, whatever
 * becomes of what stands above. A button that shows more, less or something else stays under the finger.
 */

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
  #seen = null; // what is to stay where it is, of one who is not at the end: see `#remember`
  #pressed = null; // a button that changes what is shown, and where it was
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

  getSnapshotBeforeUpdate() {
    return placeOf(document.activeElement);
  }

  componentDidUpdate(before, _, focus) {
    if (this.props.asked !== before.asked) this.#follow();
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
    [this.#top, this.#seen] = [this.scroller.scrollTop, null];
    this.#read(this.#left < NEAR_END);
    message.focus({ preventScroll: true });
    message.classList.add("sought");
    setTimeout(() => message.classList.remove("sought"), SOUGHT);
    this.props.onTarget();
  }

  /** Where another version took the place of the message that had the focus, it goes to the same button there. */
  #refocus(place) {
    const [message, button] = this.#at(place);
    (button?.disabled ? message : (button ?? message))?.focus({ preventScroll: true });
  }

  /** The message that stands at a place now, and its button of that label. */
  #at({ place, label }) {
    const message = this.scroller.querySelectorAll(".message")[place];
    return [message, [...(message?.querySelectorAll("button") ?? [])].find((one) => one.ariaLabel === label)];
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
    if (this.#keepPressed()) this.#read(this.#left < NEAR_END);
    else if (!this.#along) this.#keepSeen();
    else if (!this.#held) this.#toEnd();
    this.#tell();
  }

  /** Whether what was pressed has changed what is shown: it, or what took its place, is where it was. */
  #keepPressed() {
    const { button, place, top, height } = this.#pressed ?? {};
    if (!button || (button.isConnected && (button.closest(".siblings") || height === this.scroller.scrollHeight))) return false;
    this.#pressed = null;
    const now = button.isConnected ? button : this.#at(place)[1];
    if (now) this.#moveTo(this.scroller.scrollTop + now.getBoundingClientRect().top - top);
    this.#remember();
    return true;
  }

  #keepSeen() {
    const { scrollTop } = this.scroller;
    const shrunk = scrollTop < this.#top && this.#left < 1;
    if (!this.#seen || (scrollTop !== this.#top && !shrunk)) return this.#remember();
    const { index, places } = this.#seen;
    const here = places.find(({ element }) => element.isConnected) ?? { ...places.at(-1), element: this.scroller.querySelectorAll(".message")[index] };
    const moved = here.element ? here.element.getBoundingClientRect().top - here.top : 0;
    if (Math.abs(moved) >= 1) this.#moveTo(scrollTop + moved);
  }

  /** The first block of text that is seen, the message around it, and where they are. */
  #remember() {
    const { top } = this.scroller.getBoundingClientRect();
    const messages = [...this.scroller.querySelectorAll(".message")];
    const first = (elements) => elements.findIndex((element) => element.getBoundingClientRect().bottom > top);
    const index = first(messages);
    const blocks = [...(messages[index]?.querySelectorAll(".markdown > *") ?? [])];
    const places = [messages[index], blocks[first(blocks)]].filter(Boolean).map((element) => ({ element, top: element.getBoundingClientRect().top }));
    [this.#top, this.#seen] = [this.scroller.scrollTop, { index, places: places.reverse() }];
  }

  #read(along) {
    this.#along = along;
    if (along) this.#seen = null;
    this.#tell();
  }

  /** There is a way to the end where one is not. */
  #tell() {
    const away = !this.#along && this.#left > 1;
    if (this.state.away !== away) this.setState({ away });
  }

  /** Before the button does what it does. */
  #clicked = (event) => {
    const button = event.target.closest("summary, button[aria-expanded], .siblings button");
    if (button) this.#pressed = { button, place: placeOf(button), top: button.getBoundingClientRect().top, height: this.scroller.scrollHeight };
    if (event.target.closest(".copy")) this.props.steering.attempt(async () => (await import("../text/copy.js")).copyCode(event));
  };

  #follow = () => {
    this.#read(true);
    this.#toEnd();
  };

  /** The end moves away while a reply is written, so however small a move upwards is, it leaves; only one down to the end comes back. */
  #scrolled = () => {
    const { scrollTop } = this.scroller;
    const moved = scrollTop - this.#top;
    const shrunk = moved < 0 && this.#left < 1; // at the end, it is what is shown that became shorter
    if (moved && !shrunk) [this.#top, this.#seen, this.#pressed] = [scrollTop, null, null];
    if (moved < 0 && !shrunk) this.#read(false);
    else if (moved > 0 && this.#left < NEAR_END) this.#read(true);
    if (!this.#along && !this.#seen) this.#remember();
    this.#tell();
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

  render({ messages, pending, stopping, loadingOlder, steering, models, editing, onEdit }, { away }) {
    const last = pending.length ? null : messages.at(-1);
    return html`
      <div class="scroll" ref=${(place) => (this.scroller = place)} onScroll=${this.#scrolled} onClickCapture=${this.#clicked}>
        <div class="messages">
          ${loadingOlder && html`<p class="note">Fetching what came before…</p>`}
          ${messages.map((message, place) => html`<${Message} key=${message.id} message=${message} stopping=${stopping.includes(message.id)} last=${message === last}
            steering=${steering} models=${models} editing=${editing === message.id} onEdit=${onEdit} called=${message.role === "tool" ? calledOf(messages, place) : null} />`)}
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
