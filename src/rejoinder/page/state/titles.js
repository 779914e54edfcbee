/** What a session is called that nobody has named: the beginning of its first message. */

const LENGTH = 60;

/** The beginning of a message, which is a text or a list of content parts. */
export function beginning(content) {
  const text = typeof content === "string" ? content : (content.find(({ type }) => type === "text")?.text ?? "A picture");
  const words = text.replace(/^File: (.*\n```)|\n\nFile: .*\n```[^]*/, "$1"); // without the files behind them; of files alone the name of the first
  const line = words.split("\n```")[0].trim().replace(/\s+/g, " "); // up to code, or what is in a file
  if (line.length <= LENGTH) return line;
  const cut = [...line].slice(0, LENGTH).join("");
  return `${cut.replace(/\s+\S{0,15}$/, "")}…`;
}
