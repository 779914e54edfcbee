/**
 * On a phone the way back closes the list that lies over a chat, before it leaves that: the open list is an entry of the
 * history. It goes when the list is closed otherwise, and a chat that is opened from the list takes its place.
 */

import { here } from "./found.js";
import { useLayoutEffect } from "./html.js";
import { listening } from "./listening.js";

const ENTRY = "list";

export function Back({ open, onBack }) {
  useLayoutEffect(() => {
    if (!open) return void (history.state === ENTRY && history.back());
    history.pushState(ENTRY, "");
    return listening({ popstate: onBack, click: replace }, true);
  }, [open]);
  return null;
}

function replace(event) {
  const link = event.target.closest(".sidebar a[href^='#']");
  if (!link || !here(event)) return;
  event.preventDefault();
  if (link.hash !== location.hash) location.replace(link.hash || "#");
}
