/** The icons: one stroke, 24 by 24, in the colour of the text around them. */

import { html } from "./html.js";

const PATHS = {
  again: "M19 12a7 7 0 1 1-2.1-5M19 4v4h-4",
  attach: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8L9.5 17a1.7 1.7 0 0 1-2.4-2.4L15 6.7",
  check: "M5 12.5l4.5 4.5L19 7",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  down: "M12 5v14M6 13l6 6 6-6",
  export: "M12 4v11M7.5 10.5L12 15l4.5-4.5M5 19h14",
  fork: "M7 5v6a4 4 0 0 0 4 4h6M7 5a1.5 1.5 0 1 0 0-.01M7 11v8M14 11.5l3.5 3.5-3.5 3.5",
  keys: "M4 7h16v10H4zM7.5 10.5h.01M12 10.5h.01M16.5 10.5h.01M8 14h8",
  left: "M14 6l-6 6 6 6",
  menu: "M4 7h16M4 12h16M4 17h16",
  pencil: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  plus: "M12 5v14M5 12h14",
  right: "M10 6l6 6-6 6",
  sliders: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  stop: "M8 8h8v8H8z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  up: "M12 19V5M6 11l6-6 6 6",
};

export const icon = (name) => html`
  <svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.75"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${PATHS[name]} /></svg>
`;
