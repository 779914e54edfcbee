/** Sessions that come in as files. */

import { Problem } from "../client.js";

/** Makes a session of a file that was exported. Returns it. */
export async function importFile(file) {
  const headers = { "content-type": "application/jsonl", accept: "application/json" };
  const response = await fetch("/v1/import", { method: "POST", headers, body: file });
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const [error] = body.errors ?? [];
  throw new Problem(response.status, error ? { ...body, errors: null, detail: `“${file.name}” cannot be imported: ${error.message}` } : body);
}
