/** Colours for code. The highlighter comes with the first code that is shown, the grammar of a language with its first. */

const FOLDER = "../vendor/highlight";
const NAMES = `bash c cpp csharp css dart diff dockerfile elixir erlang go graphql haskell http ini java javascript json
  julia kotlin latex lua makefile markdown matlab nginx objectivec ocaml perl php powershell protobuf python r ruby rust
  scala scss sql swift typescript vbnet xml yaml`.split(/\s+/);
const ALSO = {
  bash: "sh shell zsh console",
  cpp: "c++ cc cxx hpp h++",
  csharp: "cs c#",
  dockerfile: "docker",
  elixir: "ex exs",
  erlang: "erl",
  go: "golang",
  haskell: "hs",
  ini: "toml conf",
  javascript: "js jsx mjs cjs node",
  json: "jsonc json5 jsonl",
  julia: "jl",
  kotlin: "kt kts",
  latex: "tex",
  makefile: "make mk",
  markdown: "md",
  objectivec: "objc",
  ocaml: "ml",
  perl: "pl",
  powershell: "ps1 ps pwsh",
  protobuf: "proto",
  python: "py python3 pyi",
  ruby: "rb",
  rust: "rs",
  sql: "postgresql postgres mysql sqlite",
  typescript: "ts tsx mts",
  vbnet: "vb",
  xml: "html svg xhtml vue",
  yaml: "yml",
};
const KNOWN = new Map(NAMES.flatMap((name) => [name, ...(ALSO[name]?.split(" ") ?? [])].map((alias) => [alias, name])));
/** Languages that stand inside others. */
const INSIDE = { xml: ["css", "javascript"], markdown: ["xml"], php: ["xml"], dockerfile: ["bash"] };

let highlighter = null;
const coming = new Map(); // by name: settles once its grammar is here

/** Settles once code in this language can be coloured: with true, or false for a language that is not known here. */
export async function learn(language) {
  const name = KNOWN.get(language.toLowerCase());
  if (!name) return false;
  for (const one of [name, ...(INSIDE[name] ?? [])]) if (!coming.has(one)) coming.set(one, fetchGrammar(one));
  await Promise.all([name, ...(INSIDE[name] ?? [])].map((one) => coming.get(one)));
  return true;
}

async function fetchGrammar(name) {
  try {
    highlighter ??= (await import(`${FOLDER}/core.js`)).default;
    highlighter.registerLanguage(name, (await import(`${FOLDER}/languages/${name}.js`)).default);
  } catch (problem) {
    coming.delete(name); // the next code asks again
    throw problem;
  }
}

/** The code as coloured pieces, or null where its language is not here (yet). */
export function coloured(text, language) {
  const name = KNOWN.get(language.toLowerCase());
  if (!name || !highlighter?.getLanguage(name)) return null;
  return fragmentOf(highlighter.highlight(text, { language: name, ignoreIllegals: true }).value);
}

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };

/** The highlighter writes text and spans and nothing else, so nothing else is built here, and no HTML is parsed. */
function fragmentOf(html) {
  const fragment = document.createDocumentFragment();
  let place = fragment;
  for (const [, classes, close, text] of html.matchAll(/<span class="([^"]*)">|(<\/span>)|([^<]+)/g)) {
    if (text) place.append(text.replace(/&[^;]+;/g, (entity) => ENTITIES[entity] ?? entity));
    else if (close) place = place.parentNode ?? fragment;
    else place = place.appendChild(Object.assign(document.createElement("span"), { className: classes }));
  }
  return fragment;
}
