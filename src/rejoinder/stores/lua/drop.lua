#!lua flags=allow-oom
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

-- Takes some fields of a hash that was the session's, and what a set has of them. Returns whether there were any.
local function drop_some(kind, set, member_of)
  local left, again = P .. kind .. n, P .. kind .. name
  local fields = redis.call('HRANDFIELD', left, math.min(most, 50), 'WITHVALUES')
  for place = 1, #fields, 2 do
    local field, kept = fields[place], fields[place + 1]
    local member = member_of(field, kept)
    -- A session that was made again under the name may have the same.
    local now = member and redis.call('HGET', again, field)
    if member and not (now and member_of(field, now) == member) then drop(set, member) end
    redis.call('HDEL', left, field)
    size = size + #kept
  end
  most = most - #fields / 2
  return #fields > 0
end

while most > 0 and size < 1048576 do
  if not drop_some('texts:', 'found:' .. owner, function(field, text) return found_member(id, field, text) end)
    and not drop_some('rows:', 'ripe', function(message_id, row) return ripe_member(name, message_id, row) end) then
    drop('deleted', first)
    break
  end
end
return 1
