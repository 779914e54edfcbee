-- Rows of a branch: name, the message at its end, the depths between which they lie, and how many: the last of them. Returns ids and
-- rows, in order of depth.
local index, rows = P .. 'index:' .. ARGV[1], P .. 'rows:' .. ARGV[1]
local low, high, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- Id of the parent (false for none), lane and depth; nothing where there is no such message.
local function place_of(id)
  local row = redis.call('HGET', rows, id)
  if not row then return end
  local _, _, _, place = row_of(row)
  local parent, lane, depth = unpack(cjson.decode(place))
  return parent ~= cjson.null and parent, lane, depth
end

local stretches, tip = {}, ARGV[2]
while tip do
  local _, lane, depth = place_of(tip)
  if not lane then break end
  if #stretches == 0 then low = math.max(low, math.min(depth, high) - most + 1) end
  stretches[#stretches + 1] = {lane, math.min(depth, high)}
  local above, _, first = place_of(lane)
  tip = first and first > low and above
end

local answer = {}
for n = #stretches, 1, -1 do
  local start = 'l\0' .. stretches[n][1] .. '\0'
  local first, last = start .. digits(low) .. '\0', start .. digits(stretches[n][2]) .. '\0'
  for _, member in ipairs(redis.call('ZRANGE', index, '[' .. first, '(' .. last .. '\255', 'BYLEX')) do
    local id = string.sub(member, #first + 1)
    answer[#answer + 1] = id
    answer[#answer + 1] = redis.call('HGET', rows, id)
  end
end
return answer
