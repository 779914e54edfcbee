-- Drops events from a stretch of a log: name, first seq, the seq before which it ends, how many messages, id and end of each, and
-- the types. Looks through a bounded part, the last one: whoever reads between two calls, or after a crash there, finds the
-- beginning of a message and then its end. Returns the seq before which to go on, '' at the first.
local key, ends, types = P .. 'events:' .. ARGV[1], {}, {}
local last = 4 + 2 * tonumber(ARGV[4])
for place = 5, last, 2 do ends[ARGV[place]] = tonumber(ARGV[place + 1]) end
for place = last + 1, #ARGV do types[ARGV[place]] = true end

local entries = redis.call('XREVRANGE', key, '(0-' .. ARGV[3], '0-' .. ARGV[2], 'COUNT', 500)
local dropped = {}
for _, entry in ipairs(entries) do
  local fields = entry[2]
  local ended = types[fields[2]] and fields[3] == 'm' and ends[fields[4]]
  if ended and tonumber(string.sub(entry[1], 3)) < ended then dropped[#dropped + 1] = entry[1] end
end
if #dropped > 0 then redis.call('XDEL', key, unpack(dropped)) end
return #entries == 500 and string.sub(entries[500][1], 3) or ''
