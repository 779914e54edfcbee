-- What is read. Each is one statement, so it sees one state of the store.

-- name: header
SELECT header, last_seq FROM sessions JOIN places ON session = n WHERE owner = $1 AND id = $2

-- name: sessions
SELECT header, last_seq
FROM sessions JOIN places ON session = n
WHERE owner = $1
ORDER BY updated_at DESC, id DESC
LIMIT $2

-- name: sessions_after
SELECT header, last_seq
FROM sessions JOIN places ON session = n
WHERE owner = $1 AND (updated_at, id) < ($3, $4)
ORDER BY updated_at DESC, id DESC
LIMIT $2

-- name: search_sessions
SELECT found_header, found_last_seq FROM search_sessions($1, $2, $3, $4, $5)

-- name: search
SELECT found_session, found_message FROM search_texts($1, $2, $3)

-- name: orphans
SELECT s.owner, s.id, o.reply
FROM open_replies AS o JOIN sessions AS s ON s.n = o.session
WHERE o.epoch IS NOT NULL AND NOT EXISTS (SELECT FROM leases AS l WHERE l.epoch = o.epoch)
LIMIT $1

-- name: writing
SELECT header, last_seq
FROM sessions JOIN places ON session = n
WHERE n = ANY (ARRAY(SELECT session FROM open_replies)) AND owner = $1 AND id > $2
ORDER BY id
LIMIT $3

-- name: keys
SELECT owner, id FROM sessions ORDER BY owner, id LIMIT $1

-- name: keys_after
SELECT owner, id FROM sessions WHERE (owner, id) > ($2, $3) ORDER BY owner, id LIMIT $1

-- name: idle
SELECT owner, id FROM sessions WHERE updated_at < $1 ORDER BY updated_at LIMIT $2

-- name: ripe
SELECT s.owner, s.id, m.id
FROM messages AS m JOIN sessions AS s ON s.n = m.session
WHERE m.ripe_at < $1
ORDER BY m.ripe_at
LIMIT $2

-- name: events
SELECT seq, type, message_id, data
FROM (
    SELECT seq, type, message_id, data,
        sum(octet_length(data)) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM events
    WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND seq > $3 AND seq <= $4
    ORDER BY seq
    LIMIT $5
) AS page
WHERE before IS NULL OR before < $6
ORDER BY seq

-- name: events_of
SELECT seq, type, message_id, data
FROM (
    SELECT seq, type, message_id, data,
        sum(octet_length(data)) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM events
    WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND seq > $3 AND seq <= $4
        AND message_id = ANY ($7)
    ORDER BY seq
    LIMIT $5
) AS page
WHERE before IS NULL OR before < $6
ORDER BY seq

-- name: events_at
SELECT seq, type, message_id, data
FROM events
WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND seq = ANY ($3)
ORDER BY seq

-- name: rows
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND id = ANY ($3)

-- name: children
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND parent_id = ANY ($3)
UNION ALL
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE $4 AND session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND parent_id IS NULL
ORDER BY created

-- name: branch
WITH RECURSIVE stretches (session, lane, high, low, above) AS (
    SELECT tip.session, tip.lane, tip.depth, first.depth, first.parent_id
    FROM messages AS tip JOIN messages AS first ON first.session = tip.session AND first.id = tip.lane
    WHERE tip.session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND tip.id = $3
    UNION ALL
    SELECT parent.session, parent.lane, parent.depth, first.depth, first.parent_id
    FROM stretches
        JOIN messages AS parent ON parent.session = stretches.session AND parent.id = stretches.above
        JOIN messages AS first ON first.session = parent.session AND first.id = parent.lane
    WHERE stretches.low > $4
)
SELECT m.id, m.parent_id, m.lane, m.depth, m.created, m.ended
FROM stretches JOIN messages AS m
    ON m.session = stretches.session AND m.lane = stretches.lane
        AND m.depth BETWEEN $4 AND least($5, stretches.high)
ORDER BY m.depth

-- name: created
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND created > $3 AND created < $4
ORDER BY created
LIMIT $5

-- name: created_newest
SELECT id, parent_id, lane, depth, created, ended
FROM messages
WHERE session = (SELECT n FROM sessions WHERE owner = $1 AND id = $2) AND created > $3 AND created < $4
ORDER BY created DESC
LIMIT $5
