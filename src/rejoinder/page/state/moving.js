/** Sessions that come in as files. */

import { Problem } from "../client.js";
import { outcome } from "./outcome.js";

/** Imports one file after another, and tells of each session. Returns what was wrong with the others. */
export async function importFiles(files, told) {
  const tried = [];
  for (const file of files) tried.push(...(await Promise.allSettled([importFile(file).then(told)])));
  return outcome(tried).problem;
}

/** Makes a session of a file that was exported. Returns it, or `{id}` of the one that is there already. */
async function importFile(file) {
  const headers = { "content-type": "application/jsonl", accept: "application/json" };
  const response = await fetch("/v1/import", { method: "POST", headers, body: file });
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  if (body.code === "already_exists") return { id: await idOf(file) };
  const [error] = body.errors ?? [];
  throw new Problem(response.status, error ? { ...body, errors: null, detail: `“${file.name}” cannot be imported: ${error.message}` } : body);
}

/** The first line of a file tells of its session. */
const idOf = async (file) => JSON.parse((await file.text()).split("\n", 1)[0]).session.id;
