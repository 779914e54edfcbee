/**
 * What a model writes is hostile: it may have read a page that told it what to write. Three walls stand one behind the
 * other: HTML in its Markdown is shown as text but for a few bare tags (`blocks`), what is left becomes a fragment of
 * harmless elements here, the only way into the page, and the Content-Security-Policy forbids the rest.
 */

import "../vendor/dompurify/purify.js"; // it makes itself a global

const TAGS = `a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i img input ins kbd li mark ol p pre s small strong sub
  sup table tbody td th thead tr u ul`.split(/\s+/);
// No id, name or style, and classes only where `tidy` lets them pass: so nothing can pose as a part of the page.
const ATTRIBUTES = "align alt checked class disabled href src start title type".split(" ");

/** Where the browser asks for Trusted Types, nothing but this makes HTML of a text, and no one else may make another. */
const policy = globalThis.trustedTypes?.createPolicy("rejoinder", {
  createHTML: (html) => html, // what DOMPurify is about to clean, and nothing that is shown
  createScriptURL: () => {
    throw new TypeError("No script comes from a text.");
  },
});

const OPTIONS = {
  TRUSTED_TYPES_POLICY: policy,
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const LINK = /^(https?:|mailto:)/i;
const OWN_IMAGE = /^data:image\/(png|jpeg|gif|webp|avif);base64,/i;

/** A fragment that is safe to show. */
export function safeFragment(html) {
  const fragment = globalThis.DOMPurify.sanitize(html, OPTIONS);
  for (const element of fragment.querySelectorAll("*")) TIDY[element.localName]?.(element);
  for (const element of fragment.querySelectorAll("[class]")) element.className = classOf(element);
  for (const cell of fragment.querySelectorAll("th, td")) cell.noWrap = cell.textContent.length < 16; // as signs and numbers are
  for (const code of fragment.querySelectorAll("pre")) frame(code);
  for (const table of fragment.querySelectorAll("table")) wrap(table, make("div", { className: "table", tabIndex: 0 }));
  return fragment;
}

const TIDY = {
  a(link) {
    const href = link.getAttribute("href") ?? "";
    if (!LINK.test(href)) return link.removeAttribute("href");
    Object.assign(link, { target: "_blank", rel: "noopener noreferrer nofollow" });
  },
  /** To fetch a picture would tell its host who reads what, and when: it is shown as a link. */
  img(image) {
    const source = image.getAttribute("src") ?? "";
    if (OWN_IMAGE.test(source)) return;
    const link = make("a", { textContent: `🖼 ${image.alt || "image"}` });
    link.setAttribute("href", source);
    TIDY.a(link);
    image.replaceWith(link);
  },
  /** The box of a task list, and no other. */
  input(box) {
    if (box.type !== "checkbox") return box.remove();
    box.disabled = true;
    box.ariaLabel = box.checked ? "Done" : "Not done";
  },
};

/** Code names its language, and a formula that it is one. */
const CLASS = /^math(?: shown)?$|^language-[\w+#.-]+/;
const classOf = ({ localName, className }) => (localName === "code" ? (CLASS.exec(className)?.[0] ?? "") : "");

/** The language that a block of code says it is in; empty where it says none. */
export const languageOf = (code) => /^language-(.*)/.exec(code?.className ?? "")?.[1] ?? "";

/** A block of code within another, in a frame that names its language and offers to copy it: as `view/code` draws one. */
function frame(pre) {
  const head = make("figcaption");
  const name = languageOf(pre.querySelector("code")) || "text";
  head.append(make("span", { textContent: name }), make("button", { type: "button", className: "copy", textContent: "Copy" }));
  pre.tabIndex = 0;
  wrap(pre, make("figure", { className: "code" }));
  pre.before(head);
}

function wrap(element, around) {
  element.replaceWith(around);
  around.append(element);
}

const make = (name, properties = {}) => Object.assign(document.createElement(name), properties);
