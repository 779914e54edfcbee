-- Compacted messages are ripe no more: name, message ids.
local name = ARGV[1]
local rows, events = P .. 'rows:' .. name, P .. 'events:' .. name
for place = 2, #ARGV do
  local id = ARGV[place]
  local row = redis.call('HGET', rows, id)
  if row then
    local created, ended, ripe, rest = row_of(row)
    if ripe ~= '' then
      drop('ripe', ripe .. '\0' .. name .. '\0' .. id)
      redis.call('HSET', rows, id, created .. ' ' .. ended .. '  ' .. rest)
    end
  end
end

-- A stream gives the room of an entry back only with all those that lie in one node with it. A short log is written anew.
if redis.call('XLEN', events) <= 500 and (redis.call('MEMORY', 'USAGE', events, 'SAMPLES', 0) or 0) <= 1048576 then
  local entries = redis.call('XRANGE', events, '-', '+')
  redis.call('UNLINK', events)
  for _, entry in ipairs(entries) do redis.call('XADD', events, entry[1], unpack(entry[2])) end
end
return 1
