-- Puts a piece of a first append away: number, epoch, worker, the pieces before it and with it, how many events, rows and texts, and
-- each of them (batch.py writes them).
-- Returns whether it is there, also where it comes again: not where the lease is gone, or what came before is lost.
local n, epoch = ARGV[1], ARGV[2]
if redis.call('HGET', P .. 'lease:' .. epoch, 'worker') ~= ARGV[3] then return 0 end
local kept = redis.call('HGET', P .. 'staged', n)
if kept == epoch .. ' ' .. ARGV[5] then return 1 end
if kept ~= epoch .. ' ' .. ARGV[4] then return 0 end
redis.call('HSET', P .. 'staged', n, epoch .. ' ' .. ARGV[5])

local at = 6
local function each(count, width, put)
  for _ = 1, tonumber(count) do
    put(unpack(ARGV, at + 1, at + width))
    at = at + width
  end
end

local function later(what) redis.call('RPUSH', P .. 'unlearnt:' .. n, what) end

local events, rows, texts = string.match(ARGV[6], '^(%d+) (%d+) (%d+)$')
each(events, 4, function(seq, kind, message_id, data) put_event(n, seq, kind, message_id, data) end)
each(rows, 7, function(id, created, ended, ripe, parent, lane, rest)
  put_row(n, id, created, ended, ripe, parent, lane, rest)
  if ripe ~= '' then later('r' .. id) end
end)
each(texts, 3, function(field, time, words)
  redis.call('HSET', P .. 'texts:' .. n, field, time .. ' ' .. words)
  later(field)
end)
return 1
