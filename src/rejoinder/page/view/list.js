/**
 * The list of sessions: newest activity first, in groups by day. It may be thousands long, so what is drawn is what can be
 * seen, a screen above it and two below, and the rows that are open or have the focus. All rows have one height, so the
 * place of each is known without the others. What lies further down is fetched before one comes to it.
 */

import { Component, html, useEffect, useRef } from "./html.js";
import { Item } from "./item.js";

/** The height of a day's heading in rem, as `style/list.css` has it. */
const HEADING = 2.4;

export class List extends Component {
  state = { screen: 0, height: innerHeight };
  #items = null;
  #days = [];
  #drawn = [];

  componentDidMount() {
    addEventListener("resize", this.#look);
    this.#name();
  }

  componentWillUnmount() {
    removeEventListener("resize", this.#look);
  }

  /** `version` and `unread` tell that something in the list changed, `row` is the height of a row in rem. */
  shouldComponentUpdate({ version, unread, open, row }, { screen, height }) {
    const { props, state } = this;
    return version !== props.version || unread !== props.unread || open !== props.open || row !== props.row || screen !== state.screen || height !== state.height;
  }

  /** The first and the last row that can be seen, for whoever has scrolled to them. */
  getSnapshotBeforeUpdate() {
    const { top, bottom } = this.scroller.getBoundingClientRect();
    if (!this.scroller.scrollTop) return [];
    const seen = [...this.scroller.querySelectorAll("li")].map((row) => ({ row, at: row.getBoundingClientRect().top }));
    const inside = seen.filter(({ at }) => at >= top && at < bottom);
    return inside.length ? [inside[0], inside.at(-1)] : [];
  }

  componentDidUpdate(_props, _state, seen) {
    // What moves to the top from below pushes all others down, and must not push them away from under the reader's finger.
    const moves = seen.filter(({ row }) => row.isConnected).map(({ row, at }) => row.getBoundingClientRect().top - at);
    const [move] = moves.sort((one, other) => Math.abs(one) - Math.abs(other));
    if (move) this.scroller.scrollTop += move;
    this.#name();
  }

  #look = () => {
    this.setState({ screen: Math.floor(this.scroller.scrollTop / innerHeight), height: innerHeight });
  };

  #name() {
    this.props.chat.sessions.show(this.#drawn);
  }

  render({ chat, row }) {
    const { sessions } = chat;
    if (sessions.items !== this.#items) [this.#items, this.#days] = [sessions.items, days(sessions.items)];
    this.#drawn = [];
    let top = 0;
    return html`
      <div class="list" style=${{ "--row": `${row}rem` }} ref=${(place) => (this.scroller = place)} onScroll=${this.#look}>
        ${this.#days.map(({ name, items }) => {
          top += HEADING;
          const rows = this.#rows(items, top);
          top += row * items.length;
          return html`
            <section key=${name} aria-label=${name}>
              <h2>${name}</h2>
              <ul class="rows" style=${{ "--count": items.length }}>${rows}</ul>
            </section>`;
        })}
        <${Rest} sessions=${sessions} />
      </div>
    `;
  }

  /** Those to be drawn of a day whose first row is at `top` (in rem). */
  #rows(items, top) {
    const { chat, open, row } = this.props;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const screen = this.state.height / rem;
    const from = ((this.state.screen - 1) * screen - top) / row;
    const to = ((this.state.screen + 3) * screen - top) / row;
    const focused = document.activeElement?.closest("[data-session]")?.dataset.session;
    const rows = [];
    items.forEach((session, place) => {
      const { id } = session;
      if ((place < from - 1 || place > to) && id !== open && id !== focused) return;
      this.#drawn.push(session);
      const title = chat.sessions.titleOf(session);
      rows.push(html`<${Item} key=${id} session=${session} title=${title} open=${id === open} writing=${chat.sessions.writes(id)} unread=${chat.unread?.has(id)} place=${place} of=${items.length} chat=${chat} />`);
    });
    return rows;
  }
}

/** What stands below the rows. */
function Rest({ sessions }) {
  if (sessions.failed) {
    return html`
      <div class="note" role="alert">
        <p>The list could not be fetched: ${sessions.failed.message}</p>
        <button type="button" onClick=${() => sessions.load()}>Try again</button>
      </div>`;
  }
  if (sessions.loaded && !sessions.items.length) return html`<p class="note">Your chats will be listed here.</p>`;
  return sessions.next && html`<${More} key=${sessions.next} onNear=${() => sessions.more()} />`;
}

/** Fetches the next page when it comes near. */
function More({ onNear }) {
  const place = useRef();
  useEffect(() => {
    const root = place.current.closest(".list");
    const near = new IntersectionObserver(([entry]) => entry.isIntersecting && onNear(), { root, rootMargin: "100%" });
    near.observe(place.current);
    return () => near.disconnect();
  }, []);
  return html`<p ref=${place} class="note">Fetching more…</p>`;
}

const DAY = 24 * 60 * 60 * 1000;
const MONTH = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric" });

/** `{name, items}` of each day or month, in the order of the list. */
function days(items) {
  const today = new Date().setHours(0, 0, 0, 0);
  const found = [];
  let [last, of] = [null, null];
  for (const item of items) {
    const time = new Date(item.updated_at);
    const day = time >= today ? "Today" : time >= today - DAY ? "Yesterday" : time >= today - 7 * DAY ? "Last seven days" : null;
    const key = day ?? time.getFullYear() * 12 + time.getMonth();
    if (key !== last) found.push((of = { name: day ?? MONTH.format(time), items: [] }));
    of.items.push(item);
    last = key;
  }
  return found;
}
