-- Gives a lease under a new epoch: worker, milliseconds, the schema. That is noted again where Redis lost everything beneath who
-- had opened it: nobody could else open what is written from now on.
redis.call('SET', P .. 'schema', ARGV[3], 'NX')
local epoch = redis.call('INCR', P .. 'epoch')
redis.call('HSET', P .. 'lease:' .. plain(epoch), 'worker', ARGV[1], 'number', '0', 'results', '')
redis.call('ZADD', P .. 'expiries', plain(now() + ARGV[2]), plain(epoch))
return epoch
