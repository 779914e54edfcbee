-- Sessions with open replies whose epoch no lease holds: how many at most. Returns epoch, name and header of each.
-- Epochs are as many as there were workers: those that are held are stepped over.
local found, low = {}, '-'
local left = tonumber(ARGV[1])
while left > 0 do
  local first = redis.call('ZRANGE', P .. 'owned', low, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not first then break end
  local epoch = string.sub(first, 1, 16)
  local behind = '(' .. epoch .. '\1'
  if redis.call('EXISTS', P .. 'lease:' .. plain(tonumber(epoch))) == 0 then
    for _, member in ipairs(redis.call('ZRANGE', P .. 'owned', '[' .. epoch, behind, 'BYLEX', 'LIMIT', 0, left)) do
      local name = string.sub(member, 18)
      local n = #found
      found[n + 1], found[n + 2], found[n + 3] = epoch, name, redis.call('HGET', P .. 'session:' .. name, 'header')
      left = left - 1
    end
  end
  low = behind
end
return found
