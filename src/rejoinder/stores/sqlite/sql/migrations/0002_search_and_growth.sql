-- When a reply ended whose events are all there: NULL while it is open, and again once it is compacted.
ALTER TABLE messages ADD COLUMN ended_at TEXT;
CREATE INDEX messages_ripe ON messages (ended_at) WHERE ended_at IS NOT NULL;
UPDATE messages
SET ended_at = (
    SELECT json_extract(CAST(data AS TEXT), '$.message.ended_at')
    FROM events
    WHERE events.session = messages.session AND seq = ended
)
WHERE ended > created;

-- Sessions of all owners by their last activity.
CREATE INDEX sessions_by_idleness ON sessions (updated_at);

-- What a search finds. `n` names a text in the index of words; it rises as texts come, and where that is the order of `at` as
-- well, the newest are the first that the index meets, and nothing is sorted. One that comes late (an import) is marked so.
CREATE TABLE texts (
    n          INTEGER PRIMARY KEY,
    session    INTEGER NOT NULL,            -- below zero: of one that was deleted, to be taken out of the index
    message_id TEXT,                        -- NULL: the title
    owner      INTEGER NOT NULL,            -- a hash
    at         TEXT    NOT NULL
);
CREATE UNIQUE INDEX texts_by_message ON texts (session, ifnull(message_id, ''));
CREATE INDEX texts_by_time ON texts (owner, at);

-- Each text begins with a mark: `_`, what it is, and whose; so the search of one owner is an intersection like any other.
-- `ascii` keeps every word as it came: whatever is not ASCII is a letter there, and no table of Unicode is asked. Words are
-- distinct and nobody asks for their places (detail, columnsize). The beginnings of words have lists of their own up to
-- three letters; few words share a longer one.
CREATE VIRTUAL TABLE word_index USING fts5 (
    words, detail = none, columnsize = 0, prefix = '1 2 3', tokenize = "ascii tokenchars '_'"
);
