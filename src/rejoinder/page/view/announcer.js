/**
 * Tells a screen reader of a reply without flooding it: that it has begun, its first sentences as they come and no faster
 * than they can be heard, and its end. Whoever wants to hear all of it reads the message itself.
 */

import { lengthOfSentences, spoken } from "../text/sentences.js";
import { Component, html } from "./html.js";

/** Characters that are read out as they come; milliseconds that one takes to be heard; characters of a whole reply. */
const MOST = 600;
const PER_CHARACTER = 60;
const WHOLE = 400;

export class Announcer extends Component {
  state = { said: "" };
  #opening = true; // what had ended before the chat was opened is no news
  #id = null;
  #heard = 0; // characters of the reply that were said
  #timer = null;
  #status = null;

  componentDidMount() {
    this.#listen();
  }

  componentDidUpdate() {
    this.#listen();
  }

  componentWillUnmount() {
    clearTimeout(this.#timer);
  }

  shouldComponentUpdate({ conversation, last }, { said }) {
    return conversation !== this.props.conversation || last !== this.props.last || said !== this.state.said;
  }

  #listen() {
    const { conversation } = this.props;
    if (conversation?.phase !== "ready") return;
    const last = conversation.branch.at(-1); // what was drawn may be older than what the conversation holds by now
    const old = this.#opening && !conversation.fresh && !conversation.running;
    this.#opening = false;
    if (last?.role !== "assistant") return;
    if (last.id !== this.#id) this.#begin(last);
    const ended = !["streaming", "queued"].includes(last.status);
    if (old) this.#status = last.status;
    if (ended && this.#status !== last.status) this.#end(last);
    else if (!ended && !this.#timer) this.#sayMore(last);
    this.#status = last.status;
  }

  #begin({ id }) {
    clearTimeout(this.#timer);
    [this.#id, this.#heard, this.#timer, this.#status] = [id, 0, null, null];
  }

  /** Says the sentences that are whole by now, and listens again when they have been heard. */
  #sayMore(last) {
    const text = spoken(last.content.slice(0, 2 * MOST));
    const length = Math.min(lengthOfSentences(text), MOST);
    const fresh = text.slice(this.#heard, length).trim();
    if (this.#status === null) this.setState({ said: "A reply is being written." });
    else if (fresh) {
      this.#heard = length;
      this.setState({ said: fresh });
    }
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#listen();
    }, 1500 + fresh.length * PER_CHARACTER);
  }

  #end({ status, content, error }) {
    clearTimeout(this.#timer);
    this.#timer = null;
    const text = spoken(content).trim();
    const rest = text.slice(this.#heard);
    if (status !== "completed") this.setState({ said: `The reply has ended: ${error?.message ?? status}` });
    else if (!this.#heard) this.setState({ said: `The reply: ${text.slice(0, WHOLE)}` });
    else this.setState({ said: rest.length <= WHOLE ? `${rest.trim()} End of the reply.` : `The reply is complete: ${text.split(/\s+/).length} words.` });
  }

  render(_, { said }) {
    return html`<p class="unseen" role="status">${said}</p>`;
  }
}
