-- A session's number stands for its key in every other table, so that their rows are small.
CREATE TABLE sessions (
    n          INTEGER PRIMARY KEY,
    owner      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    updated_at TEXT    NOT NULL,
    header     BLOB    NOT NULL             -- JSON; its last_seq is not kept up, see events
);
CREATE UNIQUE INDEX sessions_by_key ON sessions (owner, id);
CREATE INDEX sessions_by_activity ON sessions (owner, updated_at DESC, id DESC);

-- The log. The last seq of a session is the greatest one here: one step down the index, and a delta writes no session row.
-- A heap in order of arrival with a narrow index, since the deltas of all live replies are committed together: they fill
-- the same few pages. Clustered by session (or WITHOUT ROWID) each would dirty a page of its own, at up to four times the
-- CPU; reading is quicker then, by 3 µs an event. Measured in docs/decisions/0001-the-contract-of-the-store.md.
CREATE TABLE events (
    session    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    type       TEXT    NOT NULL,
    message_id TEXT,
    data       BLOB    NOT NULL             -- the very bytes of the draft
);
CREATE UNIQUE INDEX events_by_seq ON events (session, seq);

-- The message index.
CREATE TABLE messages (
    session   INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    id        TEXT    NOT NULL,
    parent_id TEXT,
    lane      TEXT    NOT NULL,
    depth     INTEGER NOT NULL,
    ended     INTEGER,
    PRIMARY KEY (session, created)
) WITHOUT ROWID;
CREATE UNIQUE INDEX messages_by_id ON messages (session, id);
CREATE INDEX messages_by_parent ON messages (session, parent_id, created);
CREATE INDEX messages_by_lane ON messages (session, lane, depth);

-- The open replies of all headers that are some worker's, so that orphans are found without reading headers. As few as
-- there are live replies.
CREATE TABLE open_replies (
    session INTEGER NOT NULL,
    id      TEXT    NOT NULL,
    epoch   INTEGER NOT NULL,
    reply   BLOB    NOT NULL,               -- JSON
    PRIMARY KEY (session, id)
) WITHOUT ROWID;

-- A lease that is revoked or released is deleted. AUTOINCREMENT: an epoch is never given twice.
CREATE TABLE leases (
    epoch   INTEGER PRIMARY KEY AUTOINCREMENT,
    worker  TEXT    NOT NULL,
    number  INTEGER NOT NULL DEFAULT 0,     -- of the last batch
    results BLOB    NOT NULL DEFAULT x''    -- of the last batch
);

-- One row that is written to learn whether the store can be written.
CREATE TABLE health (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    pings INTEGER NOT NULL
);
INSERT INTO health VALUES (1, 0);
