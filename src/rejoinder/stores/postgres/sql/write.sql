-- What is written. Times of leases are the database's.

-- name: append
-- No row: the lease is gone, or does not know the last batch that was acknowledged. It cannot lose that while this runs.
SELECT append_batch(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
    $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38
)
FROM leases
WHERE epoch = $1 AND worker = $2 AND number >= $39

-- name: begin_staging
INSERT INTO staged (n, epoch)
SELECT nextval('sessions_n_seq'), epoch FROM leases WHERE epoch = $1 AND worker = $2
RETURNING n

-- name: stage
-- A piece that comes again, since its answer was lost, changes nothing.
WITH held AS (
    SELECT n FROM staged WHERE n = $1 AND epoch = $2 FOR UPDATE
), staged_events AS (
    INSERT INTO events (session, seq, type, message_id, data)
    SELECT held.n, e.seq, e.type, e.message_id, e.data
    FROM held, unnest($4::bigint[], $5::text[], $6::text[], $7::bytea[]) AS e (seq, type, message_id, data)
    ON CONFLICT DO NOTHING
), staged_messages AS (
    INSERT INTO messages (session, created, id, parent_id, lane, depth, ended, ripe_at)
    SELECT held.n, m.created, m.id, m.parent_id, m.lane, m.depth, m.ended, m.ripe_at
    FROM held, unnest($8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::text[])
        AS m (created, id, parent_id, lane, depth, ended, ripe_at)
    ON CONFLICT (session, created) DO NOTHING
), staged_texts AS (
    INSERT INTO texts (session, message_id, owner, at, words)
    SELECT held.n, t.message_id, $3, t.at, array_to_tsvector(array_append(string_to_array(t.words, ' '), t.mark))
    FROM held, unnest($15::text[], $16::text[], $17::text[], $18::text[]) AS t (message_id, at, words, mark)
    ON CONFLICT DO NOTHING
)
SELECT n FROM held

-- name: give_up_staged
UPDATE staged SET epoch = NULL WHERE n = $1 AND epoch = $2

-- name: drop_staged
SELECT drop_staged($1)

-- name: delete
SELECT delete_session($1, $2, $3)

-- name: compact
SELECT compact_messages($1, $2, $3, $4)

-- name: give_lease
INSERT INTO leases (worker, expires_at)
VALUES ($1, clock_timestamp() + $2 * interval '1 second')
RETURNING epoch

-- name: renew_lease
UPDATE leases SET expires_at = clock_timestamp() + $3 * interval '1 second'
WHERE epoch = $1 AND worker = $2
RETURNING epoch

-- name: drop_lease
DELETE FROM leases WHERE epoch = $1 AND worker = $2

-- name: revoke_expired
DELETE FROM leases
WHERE epoch IN (SELECT epoch FROM leases WHERE expires_at < clock_timestamp() ORDER BY epoch FOR UPDATE)

-- name: ping
UPDATE health SET pings = pings + 1
