-- Deletes a session that is at a version: owner, id, version. Returns whether it is gone.
local owner, id = ARGV[1], ARGV[2]
local name = owner .. '\0' .. id
local kept = redis.call('HMGET', P .. 'session:' .. name, 'version', 'updated', 'epochs')
if not kept[1] then return 1 end
if kept[1] ~= ARGV[3] then return 0 end

drop('keys', name)
drop('writing:' .. owner, id)
drop('list:' .. owner, kept[2] .. '\0' .. id)
drop('idle', kept[2] .. '\0' .. name)
for epoch in string.gmatch(kept[3], '%d+') do drop('owned', digits(epoch) .. '\0' .. name) end

-- Drops from a set what `member` makes of each field of a hash. In pieces, so that a long session does not stand in the script's
-- memory as a whole.
local function drop_each(set, hash, member)
  local cursor = '0'
  repeat
    local page = redis.call('HSCAN', hash, cursor, 'COUNT', 500)
    local members = {}
    for place = 1, #page[2], 2 do members[#members + 1] = member(page[2][place], page[2][place + 1]) end
    for low = 1, #members, 1000 do
      redis.call('ZREM', P .. set, unpack(members, low, math.min(low + 999, #members)))
    end
    cursor = page[1]
  until cursor == '0'
end

drop_each('ripe', P .. 'rows:' .. name, function(message_id, row)
  local _, _, ripe = row_of(row)
  return ripe ~= '' and ripe .. '\0' .. name .. '\0' .. message_id or nil
end)
drop_each('found:' .. owner, P .. 'texts:' .. name, function(field, text)
  return string.match(text, '^%S*') .. '\0' .. id .. '\0' .. field
end)
for _, kind in ipairs({'session:', 'events:', 'rows:', 'index:', 'texts:'}) do redis.call('UNLINK', P .. kind .. name) end
return 1
