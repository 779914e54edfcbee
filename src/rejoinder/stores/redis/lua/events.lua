-- Events of a log: name, after, until, how many, bytes, and message ids (none: all).
-- Returns four values for each, behind the seq after which to go on: where much was looked through, it stops for others.
local key, low, high = P .. 'events:' .. ARGV[1], '(0-' .. ARGV[2], '0-' .. ARGV[3]
local limit, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted
for place = 6, #ARGV do
  wanted = wanted or {}
  wanted[ARGV[place]] = true
end

local found, count, size, looked, passed, piece = {''}, 0, 0, 0, 0, 4
while count < limit do
  local entries = redis.call('XRANGE', key, low, high, 'COUNT', piece)
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    if not wanted or (fields[3] == 'm' and wanted[fields[4]]) then
      size = size + push(found, entry)
      count = count + 1
      if count >= limit or size >= max_bytes then return found end
    else
      passed = passed + #fields[#fields]
    end
  end
  if #entries < piece then return found end
  looked = looked + piece
  local last = entries[piece][1]
  if looked >= 2000 or passed >= 4194304 then
    found[1] = string.sub(last, 3)
    return found
  end
  low = '(' .. last
  piece = math.min(piece * 2, 256)
end
return found
