/** Where the page begins: the state, the view, and between them a drawing whenever something changed. */

import { Client } from "./client.js";
import { Chat } from "./state/chat.js";
import { App } from "./view/app.js";
import { batched } from "./view/batched.js";
import { html, render } from "./view/html.js";
import { fetchViews } from "./view/later.js";

const root = document.getElementById("app");
const draw = batched(() => render(html`<${App} chat=${chat} />`, root));
const chat = new Chat(new Client(), draw);
root.replaceChildren();
chat.start();
draw();
requestAnimationFrame(() => setTimeout(fetchViews)); // behind that drawing
