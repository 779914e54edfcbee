-- Gives a lease under a new epoch: worker, milliseconds.
local epoch = redis.call('INCR', P .. 'epoch')
redis.call('HSET', P .. 'lease:' .. plain(epoch), 'worker', ARGV[1], 'number', '0', 'results', '')
redis.call('ZADD', P .. 'expiries', plain(now() + ARGV[2]), plain(epoch))
return epoch
