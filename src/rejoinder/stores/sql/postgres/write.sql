-- What is written. Times of leases are the database's.

-- name: append
SELECT append_batch(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
    $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37
)

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
