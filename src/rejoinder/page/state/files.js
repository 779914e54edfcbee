/**
 * Files of text in a message. Each is sent, and kept in a draft, as a block of Markdown that any model can read: its name,
 * and its text between fences. The blocks stand at the end of the message, and are found there again.
 */

/** Bytes. The server takes so many of a whole message: 256 KiB. */
const LARGEST = 250_000;
/** Bytes by which a file is known for what it is, however large. */
const BEGINNING = 4096;

/** The block of a file. Throws an Error that says what is wrong with it. */
export async function fileOf(file) {
  const text = (await textOf(file)).replace(/\r\n?/g, "\n").replace(/\n$/, "");
  const name = file.name.replace(/\s+/g, " ");
  const [, language = ""] = /\.(\w+)$/.exec(name) ?? [];
  const longest = (text.match(/`{3,}/g) ?? []).reduce((most, { length }) => Math.max(most, length), 2);
  const fence = "`".repeat(longest + 1);
  return `File: ${name}\n${fence}${language.toLowerCase()}\n${text}\n${fence}`;
}

async function textOf(file) {
  const wrong = (what) => new Error(`“${file.name}” ${what}`);
  const read = (part) => part.arrayBuffer().catch(() => Promise.reject(wrong("cannot be read.")));
  const beginning = textIn(await read(file.slice(0, BEGINNING)), { stream: true });
  if (beginning === "") throw wrong("is empty.");
  if (beginning && file.size > LARGEST) throw wrong(`is too large: a file of text may have ${LARGEST / 1000} kB.`);
  const text = beginning && textIn(await read(file));
  if (text === null) throw wrong("is neither text in UTF-8 nor a picture that can be sent: PNG, JPEG, WebP and GIF can.");
  return text;
}

/** The text of bytes in UTF-8, or as Windows writes it at times: UTF-16 with a mark. Null where it is none. With `stream` more may follow. */
function textIn(buffer, options) {
  const [first, second] = new Uint8Array(buffer);
  const encoding = first === 0xff && second === 0xfe ? "utf-16le" : "utf-8";
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(buffer, options);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/** The name of the file of a block. */
export const nameOf = (block) => block.slice("File: ".length, block.indexOf("\n"));

/** What stands between its fences: `{language, text}`. */
export function insideOf(block) {
  const [, fence, ...lines] = block.split("\n");
  return { language: fence.replace(/^`+/, ""), text: lines.slice(0, -1).join("\n") };
}

/** A draft with the files that its text ends in as what is attached to it. */
export function unfolded({ text, attached }) {
  const files = [];
  for (let start; (start = lastBlock(text)) !== null; text = text.slice(0, Math.max(0, start - 2))) files.unshift(text.slice(start));
  return { text, attached: [...files, ...attached] };
}

/** Where the block begins that a text ends in; null where it ends otherwise. No fence of that length stands in its text, so the last one before the end opens it. */
function lastBlock(text) {
  let length = 0;
  while (text.at(-1 - length) === "`") length++;
  const close = text.length - length - 1; // the line break before it
  if (length < 3 || text[close] !== "\n") return null;
  const open = text.lastIndexOf(`\n${"`".repeat(length)}`, close - 1);
  const start = text.lastIndexOf("\n", open - 1) + 1;
  const alone = start === 0 || text.slice(start - 2, start) === "\n\n";
  return open > start && alone && text.startsWith("File: ", start) ? start : null;
}
