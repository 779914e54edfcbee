-- Gives a number to stage under: epoch, worker. Returns 0 where the lease is gone.
if redis.call('HGET', P .. 'lease:' .. ARGV[1], 'worker') ~= ARGV[2] then return 0 end
local n = redis.call('INCR', P .. 'numbers')
redis.call('HSET', P .. 'staged', plain(n), ARGV[1] .. ' 0')
return n
