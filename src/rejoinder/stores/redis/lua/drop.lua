-- Drops some of what is nobody's: how many, and number and epoch of what was staged in vain. Returns whether there may be more.
for place = 2, #ARGV, 2 do
  local kept = redis.call('HGET', P .. 'staged', ARGV[place])
  if kept and string.match(kept, '^%d+') == ARGV[place + 1] then discard(ARGV[place]) end
end
local staged = redis.call('HGETALL', P .. 'staged')
for place = 1, #staged, 2 do
  if redis.call('EXISTS', P .. 'lease:' .. string.match(staged[place + 1], '^%d+')) == 0 then discard(staged[place]) end
end

local first = redis.call('ZRANGE', P .. 'deleted', 0, 0)[1]
if not first then return 0 end
local n, name = split(first)
local owner, id = split(name)
local most, size = tonumber(ARGV[1]), 0

-- Takes some fields of a hash that was the session's, and what a set has of them. Returns whether there may be more.
local function drop_some(kind, set, member_of)
  local left, again = P .. kind .. n, P .. kind .. name
  local is_there, cursor = redis.call('EXISTS', again) == 1, '0'
  repeat
    local page = redis.call('HSCAN', left, cursor, 'COUNT', math.max(1, math.min(most, 50)))
    local fields, members = {}, {}
    for place = 1, #page[2], 2 do
      local field, kept = page[2][place], page[2][place + 1]
      local member = member_of(field, kept)
      -- A session that was made again under the name may have the same.
      local now = is_there and member and redis.call('HGET', again, field)
      if member and not (now and member_of(field, now) == member) then members[#members + 1] = member end
      fields[#fields + 1] = field
      size = size + #kept
    end
    if #members > 0 then redis.call('ZREM', P .. set, unpack(members)) end
    if #fields > 0 then redis.call('HDEL', left, unpack(fields)) end
    cursor, most = page[1], most - #fields
  until cursor == '0' or most <= 0 or size >= 1048576
  return cursor ~= '0'
end

local more = drop_some('texts:', 'found:' .. owner, function(field, text) return found_member(id, field, text) end)
  or drop_some('rows:', 'ripe', function(message_id, row) return ripe_member(name, message_id, row) end)
if not more then drop('deleted', first) end
return 1
