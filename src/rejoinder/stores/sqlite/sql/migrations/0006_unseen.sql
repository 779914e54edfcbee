-- Numbers of no session under which other tables have rows, so that nobody sees them. With an epoch: what is staged of a session ahead of
-- its commit, which gives the number to it. Without: what a deletion left, or a staging that came to nothing; that is dropped by
-- portions, and no session is given the number before.
CREATE TABLE unseen (
    n     INTEGER PRIMARY KEY,
    epoch INTEGER
);

-- Texts of a session that was staged: from its commit on they go to new_texts by portions. While any are here, so are those that the
-- session has got since: a later text of a message is taken in behind an earlier one. `n` is what it will be among `texts`.
CREATE TABLE staged_texts (
    session    INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    message_id TEXT,
    owner      INTEGER NOT NULL,
    at         TEXT    NOT NULL,
    words      TEXT    NOT NULL,            -- with their mark
    PRIMARY KEY (session, n)
) WITHOUT ROWID;

-- A session's texts stay its own when it is deleted. Those of before, which had a number below zero each, are of none.
UPDATE texts SET session = 0, message_id = n WHERE session < 0;
INSERT INTO unseen (n) SELECT DISTINCT session FROM texts WHERE session = 0;
