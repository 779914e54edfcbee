/** What a message may hold. */

/** Pictures, and of which kinds. */
export const MOST = 6;
export const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
