/** The views that come by way of `later`, and what they ask for when the server may be away. */

import "../state/attaching.js";
import "../state/branches.js";
import "../text/copy.js";

export { Announcer } from "./announcer.js";
export { Attached } from "./attached.js";
export { Back } from "./back.js";
export { Deleted } from "./deleted.js";
export { Dropping } from "./dropping.js";
export { Editor } from "./editor.js";
export { End } from "./end.js";
export { Enlarged } from "./enlarged.js";
export { Folded } from "./folded.js";
export { Found } from "./found.js";
export { Help } from "./help.js";
export { Import } from "./import.js";
export { Keys } from "./keys.js";
export { Marks } from "./marks.js";
export { Notice } from "./notice.js";
export { Options } from "./options.js";
export { Pressed } from "./pressed.js";
export { Progress } from "./progress.js";
export { Rename } from "./rename.js";
