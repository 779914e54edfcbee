-- Extends a lease that is held, whatever its time: epoch, worker, milliseconds. Returns whether it is held.
-- It has no expiry of Redis's own: a key that vanished by itself would be revoked by nobody.
if redis.call('HGET', P .. 'lease:' .. ARGV[1], 'worker') ~= ARGV[2] then return 0 end
-- A full memory refuses no write behind one that gives room. Without leases nobody would drop what fills it.
drop('expiries', ARGV[1])
redis.call('ZADD', P .. 'expiries', plain(now() + ARGV[3]), ARGV[1])
return 1
