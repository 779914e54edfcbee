-- What the writer says. Where values are marked `?`, Python repeats the row for as many as there are.

-- name: give_lease
INSERT INTO leases (worker) VALUES (:worker)

-- name: lease
SELECT number FROM leases WHERE epoch = :epoch AND worker = :worker

-- name: last_results
SELECT results FROM leases WHERE epoch = :epoch

-- name: keep_results
UPDATE leases SET number = :number, results = :results WHERE epoch = :epoch

-- name: drop_lease
DELETE FROM leases WHERE epoch = :epoch AND worker = :worker

-- name: drop_leases
DELETE FROM leases

-- name: place
SELECT n, version, (SELECT max(seq) FROM events WHERE session = n) FROM sessions WHERE owner = :owner AND id = :id

-- name: add_session
INSERT INTO sessions (owner, id, version, updated_at, header) VALUES (:owner, :id, :version, :updated_at, :header)

-- name: set_header
UPDATE sessions SET version = :version, updated_at = :updated_at, header = :header WHERE n = :n

-- name: clear_open
DELETE FROM open_replies WHERE session = :n

-- name: add_open
INSERT INTO open_replies (session, id, epoch, reply) VALUES (:n, :id, :epoch, :reply)

-- name: add_events
INSERT INTO events (session, seq, type, message_id, data) VALUES (?, ?, ?, ?, ?)

-- name: add_message
INSERT INTO messages (session, created, id, parent_id, lane, depth, ended) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: end_message
UPDATE messages SET ended = ? WHERE session = ? AND id = ?

-- name: drop_events
DELETE FROM events WHERE session = :n

-- name: drop_messages
DELETE FROM messages WHERE session = :n

-- name: drop_session
DELETE FROM sessions WHERE n = :n

-- name: ping
UPDATE health SET pings = pings + 1
