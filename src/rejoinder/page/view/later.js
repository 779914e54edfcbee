/** A view that is not needed to show a chat and to write: all of these come together, once the first is drawn. */

import { stylesheet } from "../text/stylesheet.js";
import { html, useEffect, useState } from "./html.js";

/** Milliseconds after which what could not be fetched is asked for again. */
const AGAIN = 3000;

let views = null;
let coming = null;
let tried = 0;

/** Fetches them. Returns them by name, or null: what fails is tried again when one of them is to be shown. */
export async function fetchViews() {
  // Firefox asks no second time for a module that failed, but for the same at another address.
  const address = () => (tried++ ? `./late_views.js?${tried}` : "./late_views.js");
  // Whoever asked again before all of them have ended would be given what is about to fail.
  coming ??= Promise.allSettled([import(address()), stylesheet("../style/late.css"), stylesheet("../style/dialog.css")]);
  const parts = await coming;
  const failed = parts.find(({ status }) => status === "rejected");
  if (failed) {
    coming = null;
    console.warn("A part of the page is not here yet:", failed.reason);
  } else views = parts[0].value;
  return views;
}

/** The view of this name; until it is here, what is to stand in its place. One that cannot come is
 *  closed, to be asked for again; one that cannot be closed comes later. */
export function Later({ name, instead = null, ...properties }) {
  const [here, draw] = useState(views);
  useEffect(() => {
    let over = Boolean(here);
    const look = async () => {
      const joins = properties.onClose && coming; // what was begun before this was asked for may be about to fail
      let got = over ? null : await fetchViews();
      if (joins && !got && !over) got = await fetchViews();
      if (got) draw(got);
      else if (properties.onClose) properties.onClose();
      else if (!over) setTimeout(look, AGAIN); // nobody could ask for it again
    };
    if (!over) look();
    return () => (over = true);
  }, []);
  return here ? html`<${here[name]} ...${properties} />` : instead;
}
