-- Drops events from a stretch of a log: name, after, until, how many message ids, these, and the types.
-- Looks through a bounded part and returns the seq after which to go on, '' at the end.
local key, ids, types = P .. 'events:' .. ARGV[1], {}, {}
for place = 5, 4 + tonumber(ARGV[4]) do ids[ARGV[place]] = true end
for place = 5 + tonumber(ARGV[4]), #ARGV do types[ARGV[place]] = true end

local entries = redis.call('XRANGE', key, '(0-' .. ARGV[2], '0-' .. ARGV[3], 'COUNT', 500)
local dropped = {}
for _, entry in ipairs(entries) do
  local fields = entry[2]
  if types[fields[2]] and fields[3] == 'm' and ids[fields[4]] then dropped[#dropped + 1] = entry[1] end
end
if #dropped > 0 then redis.call('XDEL', key, unpack(dropped)) end
return #entries == 500 and string.sub(entries[500][1], 3) or ''
