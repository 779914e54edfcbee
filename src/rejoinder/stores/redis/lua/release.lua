-- Gives a lease back: epoch, worker.
if redis.call('HGET', P .. 'lease:' .. ARGV[1], 'worker') == ARGV[2] then
  redis.call('DEL', P .. 'lease:' .. ARGV[1])
  drop('expiries', ARGV[1])
end
return 1
