-- What the readers ask. Each is one statement, so it sees one state of the store. Lists come as a JSON array.
-- INDEXED BY stands where SQLite, which has no statistics of the tables, would read a whole session instead.

-- name: lease
SELECT 1 FROM leases WHERE epoch = :epoch AND worker = :worker

-- name: header
SELECT header, (SELECT max(seq) FROM events WHERE session = n) FROM sessions WHERE owner = :owner AND id = :id

-- name: sessions
SELECT header, (SELECT max(seq) FROM events WHERE session = n)
FROM sessions
WHERE owner = :owner
ORDER BY updated_at DESC, id DESC
LIMIT :limit

-- name: sessions_after
SELECT header, (SELECT max(seq) FROM events WHERE session = n)
FROM sessions
WHERE owner = :owner AND (updated_at, id) < (:updated_at, :session_id)
ORDER BY updated_at DESC, id DESC
LIMIT :limit

-- name: latest_having
SELECT session, count(*), min(n)
FROM (
    SELECT session, n FROM word_index CROSS JOIN texts ON n = word_index.rowid
    WHERE word_index MATCH :match AND word_index.rowid <= :newest
    ORDER BY word_index.rowid DESC
    LIMIT :limit
)
GROUP BY session

-- name: newest_walked
SELECT max(n)
FROM texts
WHERE session IN (
    SELECT n FROM sessions
    WHERE owner = :owner AND (updated_at, id) < (:updated_at, :session_id)
    ORDER BY updated_at DESC, id DESC
    LIMIT :limit
)

-- name: sessions_walked
SELECT n, EXISTS (SELECT 1 FROM texts WHERE session = sessions.n AND texts.n < :oldest), header,
    (SELECT max(seq) FROM events WHERE session = sessions.n)
FROM sessions
WHERE owner = :owner AND (updated_at, id) < (:updated_at, :session_id)
ORDER BY updated_at DESC, id DESC
LIMIT :limit

-- name: sessions_having
SELECT header, (SELECT max(seq) FROM events WHERE session = sessions.n)
FROM (
    SELECT sessions.n AS n
    FROM (
        SELECT DISTINCT texts.session AS n FROM word_index CROSS JOIN texts ON texts.n = word_index.rowid
        WHERE word_index MATCH :match
    ) AS matching
        CROSS JOIN sessions ON sessions.n = matching.n
    WHERE owner = :owner AND (updated_at, id) < (:updated_at, :session_id)
    ORDER BY updated_at DESC, id DESC
    LIMIT :limit
) AS listed
    CROSS JOIN sessions ON sessions.n = listed.n
ORDER BY updated_at DESC, id DESC

-- name: search
SELECT sessions.id, message_id
FROM (
    SELECT * FROM (
        SELECT session, message_id, at, n FROM word_index CROSS JOIN texts ON n = word_index.rowid
        WHERE word_index MATCH :match AND session NOT IN (SELECT n FROM unseen)
        ORDER BY word_index.rowid DESC
        LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (
        SELECT session, message_id, at, n FROM word_index CROSS JOIN texts ON n = word_index.rowid
        WHERE word_index MATCH :late AND session NOT IN (SELECT n FROM unseen)
        ORDER BY at DESC
        LIMIT :limit
    )
) AS found
    CROSS JOIN sessions ON sessions.n = found.session
WHERE owner = :owner
ORDER BY at DESC, found.n DESC
LIMIT :limit

-- name: keys
SELECT owner, id FROM sessions WHERE (owner, id) > (:owner, :id) ORDER BY owner, id LIMIT :limit

-- name: idle
SELECT owner, id FROM sessions WHERE updated_at < :before ORDER BY updated_at LIMIT :limit

-- name: ripe
SELECT owner, sessions.id, messages.id
FROM messages INDEXED BY messages_ripe CROSS JOIN sessions ON n = session
WHERE ended_at < :before
ORDER BY ended_at
LIMIT :limit

-- name: orphans
SELECT owner, sessions.id, reply
FROM open_replies JOIN sessions ON n = session
WHERE epoch IS NOT NULL AND epoch NOT IN (SELECT epoch FROM leases)
LIMIT :limit

-- name: events
SELECT seq, type, message_id, data
FROM events
WHERE session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id) AND seq > :after AND seq <= :until
ORDER BY seq
LIMIT :limit

-- name: events_of
SELECT seq, type, message_id, data
FROM events
WHERE session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id) AND seq > :after AND seq <= :until
    AND message_id IN (SELECT value FROM json_each(:message_ids))
ORDER BY seq
LIMIT :limit

-- name: events_at
SELECT seq, type, message_id, data
FROM events
WHERE session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id)
    AND seq IN (SELECT value FROM json_each(:seqs))
ORDER BY seq

-- name: rows
SELECT id, parent_id, lane, depth, created, ended
FROM messages INDEXED BY messages_by_id
WHERE session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id)
    AND id IN (SELECT value FROM json_each(:ids))

-- name: children
SELECT m.id, m.parent_id, m.lane, m.depth, m.created, m.ended
FROM json_each(:parents) AS parent
    CROSS JOIN messages AS m INDEXED BY messages_by_parent
    ON m.session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id)
        AND m.parent_id IS parent.value
ORDER BY m.created

-- name: branch
WITH RECURSIVE stretches (session, lane, high, low, above) AS (
    SELECT tip.session, tip.lane, tip.depth, first.depth, first.parent_id
    FROM messages AS tip CROSS JOIN messages AS first ON first.session = tip.session AND first.id = tip.lane
    WHERE tip.session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id) AND tip.id = :tip
    UNION ALL
    SELECT parent.session, parent.lane, parent.depth, first.depth, first.parent_id
    FROM stretches
        CROSS JOIN messages AS parent ON parent.session = stretches.session AND parent.id = stretches.above
        CROSS JOIN messages AS first ON first.session = parent.session AND first.id = parent.lane
    WHERE stretches.low > :low
)
SELECT m.id, m.parent_id, m.lane, m.depth, m.created, m.ended
FROM stretches CROSS JOIN messages AS m
    ON m.session = stretches.session AND m.lane = stretches.lane
        AND m.depth BETWEEN :low AND min(:high, stretches.high)
ORDER BY m.depth

-- name: created
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id) AND created > :after AND created < :before
ORDER BY created
LIMIT :limit

-- name: created_newest
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE session = (SELECT n FROM sessions WHERE owner = :owner AND id = :id) AND created > :after AND created < :before
ORDER BY created DESC
LIMIT :limit

-- name: writing
SELECT header, (SELECT max(seq) FROM events WHERE session = n)
FROM (SELECT DISTINCT session FROM open_replies) CROSS JOIN sessions ON n = session
WHERE owner = :owner AND id > :after
ORDER BY id
LIMIT :limit
