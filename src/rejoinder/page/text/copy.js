/** Puts text on the clipboard. Pages that are not served over TLS or loopback have no `navigator.clipboard`. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** For a listener on a whole list of messages: copies the code block whose button was pressed. */
export async function copyCode(event) {
  const button = event.target.closest("figure.code button.copy");
  if (!button) return;
  await copy(button.closest("figure").querySelector("pre").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
