/** Puts text on the clipboard. Throws an Error where the browser refuses. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyOld(text)) throw new Error("The browser did not let it be copied. Mark it and copy it by hand.");
  }
}

/** As it was done before there was `navigator.clipboard`, which pages that are not served over TLS or loopback have not. */
function copyOld(text) {
  const had = document.activeElement;
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  had?.focus({ preventScroll: true });
  return done;
}

/** For a listener on a whole list of messages: copies the code block whose button was pressed. Throws as `copy` does. */
export async function copyCode(event) {
  const button = event.target.closest("figure.code button.copy");
  if (!button) return;
  await copy(button.closest("figure").querySelector("pre").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
