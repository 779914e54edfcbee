/** Brings what searches and what takes files out of a text, and keeps the marks of unread chats true to what one looks at. It is a part of the page that cannot be seen. */

import { unfolded } from "../state/files.js";
import { Search } from "../state/search.js";
import { Unread } from "../state/unread.js";
import { useEffect } from "./html.js";

export function Marks({ chat }) {
  useEffect(() => chat.complete({ Search, Unread, unfolded }), []);
  useEffect(() => chat.unread?.see(), [chat.sessionId, chat.unread]);
}
