/** Fetches a stylesheet that the page does not begin with, by its address from here. Settles once it holds. */
export function stylesheet(address) {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL(address, import.meta.url) });
  document.head.append(link);
  return new Promise((onload, onerror) => Object.assign(link, { onload, onerror }));
}
