/** Keeps the marks of unread chats true to what one looks at. It is a part of the page that cannot be seen. */

import { Unread } from "../state/unread.js";
import { useEffect } from "./html.js";

export function Marks({ chat }) {
  useEffect(() => chat.set({ unread: new Unread(chat, () => chat.set({})) }), []);
  useEffect(() => chat.unread?.see(), [chat.sessionId, chat.unread]);
}
