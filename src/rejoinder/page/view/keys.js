/** What the keyboard does: one table, which the page obeys and the overlay of help shows. */

import { composes } from "./composes.js";
import { field } from "./field.js";
import { useEffect } from "./html.js";

/** `code` is the place of a key with Alt, for where its sign is none of these; `key` is the sign itself. */
export const KEYS = [
  { shown: "Enter", does: "Send; while a reply is written: send it next" },
  { shown: "Shift Enter", does: "A new line" },
  { shown: "Ctrl Enter", does: "Interrupt the reply and send" },
  { shown: "Esc", does: "Stop the reply" },
  { shown: "↑", does: "In an empty field: edit what you said last" },
  { shown: "PgUp PgDn", does: "In the field: scroll the conversation" },
  { shown: "Alt N", code: "KeyN", does: "New chat", run: () => (location.hash = "") },
  { shown: "Alt W", code: "KeyW", does: "Write: into the field", run: () => field().focus() },
  { shown: "Alt R", code: "KeyR", does: "Ask again", run: (chat) => on(chat, "assistant", chat.steering.again) },
  { shown: "Alt C", code: "KeyC", does: "Continue a reply that broke off", run: (chat) => press(chat, "assistant", "Continue") },
  { shown: "Alt E", code: "KeyE", does: "Edit a message of yours", run: (chat) => on(chat, "user", ({ id }) => chat.set({ editing: id })) },
  { shown: "Alt ,", code: "Comma", does: "Previous version of a message", run: (chat) => press(chat, null, "Previous version") },
  { shown: "Alt .", code: "Period", does: "Next version of a message", run: (chat) => press(chat, null, "Next version") },
  { shown: "Alt Y", code: "KeyY", does: "Copy a reply", run: (chat) => press(chat, "assistant", "Copy") },
  { shown: "Alt F", code: "KeyF", does: "Fork the chat at a reply", run: (chat) => on(chat, "assistant", (reply) => chat.steering.fork(reply)) },
  { shown: "Alt ↑", code: "ArrowUp", does: "To the message before", run: (chat) => move(chat, -1) },
  { shown: "Alt ↓", code: "ArrowDown", does: "To the message behind", run: (chat) => move(chat, 1) },
  { shown: "Alt M", code: "KeyM", does: "Model and instructions", run: (chat) => chat.set({ over: "options" }) },
  { shown: "Alt L", code: "KeyL", does: "To the list of chats", run: (chat) => toList(chat) },
  { shown: "Alt K", code: "KeyK", does: "Search in all chats", run: (chat) => toSearch(chat) },
  { shown: "Alt Z", code: "KeyZ", does: "Bring back the chat that was just deleted", run: (chat) => chat.deletions.last && chat.undoDelete() },
  { shown: "?", key: "?", does: "This help (Ctrl / in the field)", run: (chat) => chat.set({ over: "help" }) },
];

/** Listens as long as it is a part of the page. */
export function Keys({ chat }) {
  useEffect(() => {
    const listener = (event) => onKeyDown(chat, event);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
}

function onKeyDown(chat, event) {
  if (event.defaultPrevented || composes(event) || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return escape(chat);
  if (scrolls(event)) return event.preventDefault();
  const key = KEYS.find((one) => one.run && matches(one, event));
  if (!key) return;
  event.preventDefault();
  key.run(chat);
}

/** Closes the list where it lies over the conversation; else stops the reply. */
function escape(chat) {
  if (!document.querySelector("main[inert]")) return chat.conversation?.running && chat.steering.stop();
  chat.setMenu(false);
  focusSoon(() => document.querySelector(".menu"));
}

/** Gives the focus to what can take it only once it is drawn, which may wait (see `batched`) for so many frames. */
function focusSoon(find, frames = 60) {
  find()?.focus();
  if (frames && document.activeElement !== find()) requestAnimationFrame(() => focusSoon(find, frames - 1));
}

/** Whether a key in a field that has nowhere to scroll itself has scrolled the conversation. */
function scrolls({ key, target }) {
  const direction = { PageUp: -1, PageDown: 1 }[key];
  const place = document.querySelector(".scroll");
  if (!direction || !place || target !== field() || target.scrollHeight > target.clientHeight) return false;
  place.scrollBy(0, 0.9 * direction * place.clientHeight);
  return true;
}

function matches({ shown, code, key }, event) {
  if (key) return (event.key === key && !isField(event.target)) || (event.key === "/" && (event.ctrlKey || event.metaKey));
  if (!event.altKey || event.metaKey || event.shiftKey) return false;
  const letter = shown.at(-1).toLowerCase();
  if (!event.ctrlKey) {
    if (event.key.toLowerCase() === letter) return true;
    if (/^[a-z,.]$/i.test(event.key)) return false; // another letter of another layout
    // Alt writes signs on a Mac (@, ł, ~, accents to come), and in a field they are meant. Letters of other scripts are no such signs.
    if (isField(event.target) && /^(?:Dead|[^\p{L}]|\p{Script=Latin})$/u.test(event.key)) return false;
  } else if (!MAC) return false; // AltGr
  return event.code === code;
}

/** Where Alt writes signs in a field, so that there the keys go with Ctrl as well. */
export const MAC = /^(Mac|iP)/.test(navigator.platform);

const isField = ({ localName }) => ["input", "textarea", "select"].includes(localName);
const elementOf = (id) => document.querySelector(`[data-message="${id}"]`);
const focused = () => document.activeElement?.closest("[data-message]")?.dataset.message;

/** The message that the focus is in, else the last of this role; without a role the last that has versions. */
function current(chat, role) {
  const fits = (message) => (role ? message.role === role : message.siblings.length > 1);
  const { shown } = chat;
  return shown.find((message) => message.id === focused() && fits(message)) ?? shown.findLast(fits);
}

function on(chat, role, action) {
  const message = current(chat, role);
  if (message) action(message);
}

/** What a button of the message would do, where it has that button. */
function press(chat, role, label) {
  on(chat, role, ({ id }) => {
    const buttons = [...elementOf(id).querySelectorAll("button")];
    buttons.find((button) => (button.ariaLabel ?? button.textContent.trim()) === label && !button.disabled && !button.closest("figure"))?.click();
  });
}

function move(chat, step) {
  const ids = chat.shown.map(({ id }) => id);
  const place = ids.indexOf(focused());
  const next = place < 0 ? ids.at(-1) : ids[place + step];
  if (!next) return step > 0 && field().focus();
  elementOf(next).focus({ preventScroll: true });
  elementOf(next).scrollIntoView({ block: "nearest" });
}

function toSearch(chat) {
  chat.setMenu(true);
  focusSoon(() => document.querySelector(".search"));
}

function toList(chat) {
  chat.setMenu(true);
  focusSoon(() => document.querySelector(".sidebar [aria-current]") ?? document.querySelector(".sidebar a"));
}
