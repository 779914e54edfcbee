-- What the writer says. Where values are marked `?`, Python repeats the row for as many as there are.

-- name: give_lease
INSERT INTO leases (worker) VALUES (:worker)

-- name: keep_results
UPDATE leases SET number = :number, results = :results
WHERE epoch = :epoch AND worker = :worker AND number < :number AND number >= :acknowledged

-- name: last_results
SELECT number, results FROM leases WHERE epoch = :epoch AND worker = :worker

-- name: drop_lease
DELETE FROM leases WHERE epoch = :epoch AND worker = :worker

-- name: drop_leases
DELETE FROM leases

-- name: place
SELECT n, version, (SELECT max(seq) FROM events WHERE session = n),
    EXISTS (SELECT 1 FROM open_replies WHERE session = n)
FROM sessions
WHERE owner = :owner AND id = :id

-- name: add_session
INSERT INTO sessions (n, owner, id, version, updated_at, header)
VALUES (
    ifnull(:n, 1 + max(ifnull((SELECT max(n) FROM sessions), 0), ifnull((SELECT max(n) FROM unseen), 0))),
    :owner, :id, :version, :updated_at, :header
)

-- name: set_header
UPDATE sessions SET version = :version, updated_at = :updated_at, header = :header WHERE n = :n

-- name: clear_open
DELETE FROM open_replies WHERE session = :n

-- name: add_open
INSERT INTO open_replies (session, id, epoch, reply) VALUES (:n, :id, :epoch, :reply)

-- name: add_events
INSERT INTO events (session, seq, type, message_id, data) VALUES (?, ?, ?, ?, ?)

-- name: add_message
INSERT INTO messages (session, created, id, parent_id, lane, depth, ended, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: end_message
UPDATE messages SET ended = ?, ended_at = ? WHERE session = ? AND id = ?

-- name: newest_text
SELECT max((SELECT ifnull(max(at), '') FROM texts WHERE owner = :owner),
    (SELECT ifnull(max(at), '') FROM new_texts WHERE owner = :owner))

-- name: new_texts
SELECT (SELECT count(*) FROM new_texts), max(ifnull((SELECT max(n) FROM texts), 0), ifnull((SELECT max(n) FROM new_texts), 0))

-- name: add_text
INSERT INTO new_texts (n, session, message_id, owner, at, words) VALUES (?, ?, ?, ?, ?, ?)

-- name: texts_beside
-- The sessions that have texts among those that were staged, by one step down the tree each.
WITH RECURSIVE beside (session) AS (
    SELECT min(session) FROM staged_texts
    UNION ALL
    SELECT (SELECT min(session) FROM staged_texts WHERE session > beside.session) FROM beside WHERE beside.session IS NOT NULL
)
SELECT session, (SELECT max(n) FROM staged_texts WHERE staged_texts.session = beside.session),
    session NOT IN (SELECT n FROM unseen)
FROM beside
WHERE session IS NOT NULL

-- name: stage_text
INSERT INTO staged_texts (session, n, message_id, owner, at, words) VALUES (?, ?, ?, ?, ?, ?)

-- name: take_staged_texts
INSERT INTO new_texts (n, session, message_id, owner, at, words)
SELECT n, session, message_id, owner, at, words FROM staged_texts WHERE session = :n AND n <= :until ORDER BY n

-- name: next_texts
SELECT n, length(words) FROM new_texts ORDER BY n LIMIT :limit

-- name: keep_last_texts
DELETE FROM new_texts
WHERE n <= :until AND n NOT IN (SELECT max(n) FROM new_texts WHERE n <= :until GROUP BY session, message_id)

-- name: drop_replaced_words
DELETE FROM word_index
WHERE rowid IN (
    SELECT texts.n
    FROM new_texts CROSS JOIN texts INDEXED BY texts_by_message
        ON texts.session = new_texts.session AND ifnull(texts.message_id, '') = ifnull(new_texts.message_id, '')
    WHERE new_texts.n <= :until
)

-- name: drop_replaced_texts
DELETE FROM texts
WHERE n IN (
    SELECT texts.n
    FROM new_texts CROSS JOIN texts INDEXED BY texts_by_message
        ON texts.session = new_texts.session AND ifnull(texts.message_id, '') = ifnull(new_texts.message_id, '')
    WHERE new_texts.n <= :until
)

-- name: learn_texts
INSERT INTO texts (n, session, message_id, owner, at)
SELECT n, session, message_id, owner, at FROM new_texts WHERE n <= :until AND words <> '' ORDER BY n

-- name: learn_words
INSERT INTO word_index (rowid, words) SELECT n, words FROM new_texts WHERE n <= :until AND words <> '' ORDER BY n

-- name: drop_new_texts
DELETE FROM new_texts WHERE n <= :until

-- name: drop_new_texts_of
DELETE FROM new_texts WHERE session = :n

-- name: merge_words
INSERT INTO word_index (word_index, rank) VALUES ('merge', :pages)

-- name: compact
DELETE FROM events
WHERE rowid IN (
    SELECT events.rowid
    FROM json_each(:ids) AS wanted
        CROSS JOIN messages INDEXED BY messages_by_id ON messages.session = :n AND messages.id = wanted.value
        CROSS JOIN events ON events.session = :n AND seq > created AND seq < ended
    WHERE events.message_id = messages.id AND events.type IN (SELECT value FROM json_each(:types))
)

-- name: span
SELECT min(created), max(ended)
FROM messages INDEXED BY messages_by_id
WHERE session = :n AND id IN (SELECT value FROM json_each(:ids)) AND ended IS NOT NULL

-- name: loose_events
SELECT rowid, data FROM events
WHERE session = :n AND seq BETWEEN :low AND :high AND type NOT IN (SELECT value FROM json_each(:types))
    AND substr(data, 1, 1) = x'7B'          -- an opening brace: not packed yet

-- name: last_event
SELECT max(rowid) FROM events

-- name: pack_event
UPDATE events SET rowid = :to, data = :data WHERE rowid = :place

-- name: compacted
UPDATE messages INDEXED BY messages_by_id
SET ended_at = NULL
WHERE session = :n AND id IN (SELECT value FROM json_each(:ids)) AND ended IS NOT NULL

-- name: free_pages
SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count

-- name: begin_staging
INSERT INTO unseen (n, epoch)
SELECT 1 + max(ifnull((SELECT max(n) FROM sessions), 0), ifnull((SELECT max(n) FROM unseen), 0)), epoch
FROM leases
WHERE epoch = :epoch AND worker = :worker

-- name: staging
SELECT 1 FROM unseen WHERE n = :n AND epoch = :epoch

-- name: take_staged
DELETE FROM unseen WHERE n = :n AND epoch = :epoch

-- name: give_up_staged
UPDATE unseen SET epoch = NULL WHERE n = :n AND epoch = :epoch

-- name: give_up_staged_under
UPDATE unseen SET epoch = NULL WHERE epoch = :epoch

-- name: give_up_all_staged
UPDATE unseen SET epoch = NULL

-- name: drop_session
DELETE FROM sessions WHERE n = :n

-- name: leave
INSERT INTO unseen (n) VALUES (:n)

-- name: left
SELECT n FROM unseen WHERE epoch IS NULL AND n = ifnull(:n, n) LIMIT 1

-- name: forget
DELETE FROM unseen WHERE n = :n

-- name: drop_some_words
DELETE FROM word_index
WHERE rowid IN (SELECT n FROM texts WHERE session = :n ORDER BY ifnull(message_id, '') LIMIT :limit)

-- name: drop_some_texts
DELETE FROM texts WHERE n IN (SELECT n FROM texts WHERE session = :n ORDER BY ifnull(message_id, '') LIMIT :limit)

-- name: some_events
-- The last of as many as one transaction drops, and whether there may be more.
SELECT max(seq), count(*) = :rows OR total(size) >= :bytes
FROM (
    SELECT seq, size, sum(size) OVER (ORDER BY seq) - size AS size_before
    FROM (SELECT seq, length(data) AS size FROM events WHERE session = :n ORDER BY seq LIMIT :rows)
)
WHERE size_before < :bytes

-- name: drop_events
DELETE FROM events WHERE session = :n AND seq <= :until

-- name: some_messages
SELECT max(created), count(*) = :rows FROM (SELECT created FROM messages WHERE session = :n ORDER BY created LIMIT :rows)

-- name: drop_messages
DELETE FROM messages WHERE session = :n AND created <= :until

-- name: some_staged_texts
SELECT max(n), count(*) = :rows OR total(size) >= :bytes
FROM (
    SELECT n, size, sum(size) OVER (ORDER BY n) - size AS size_before
    FROM (SELECT n, length(words) AS size FROM staged_texts WHERE session = :n ORDER BY n LIMIT :rows)
)
WHERE size_before < :bytes

-- name: drop_staged_texts
DELETE FROM staged_texts WHERE session = :n AND n <= :until

-- name: ping
UPDATE health SET pings = pings + 1
