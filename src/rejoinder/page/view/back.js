/**
 * On a phone the way back closes the list that lies over a chat, before it leaves that: the open list is an entry of the
 * history. It goes when the list is closed otherwise, and a chat that is opened from the list takes its place.
 */

import { here } from "./found.js";
import { useEffect } from "./html.js";
import { listening } from "./listening.js";

const ENTRY = "list";

export function Back({ open, onBack }) {
  useEffect(() => {
    if (!open) return undefined;
    history.pushState(ENTRY, "");
    const leave = listening({ popstate: onBack, click: replace }, true);
    return () => {
      leave();
      if (history.state === ENTRY) history.back();
    };
  }, [open]);
  return null;
}

function replace(event) {
  const link = event.target.closest(".sidebar a[href^='#']");
  if (!link || !here(event)) return;
  event.preventDefault();
  if (link.hash !== location.hash) location.replace(link.hash || "#");
}
