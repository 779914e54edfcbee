/** Sessions that come in as files. */

import { Problem } from "../client.js";

/** Makes a session of a file that was exported. Returns it, or `{id}` of the one that is there already. */
export async function importFile(file) {
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
