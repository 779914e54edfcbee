-- Deletes a session that is at a version: owner, id, version. Returns whether it is gone.
-- What the sets that many share have of its texts and rows is left to drop.lua. Its first write gives room, so a full memory refuses none of them.
local owner, id = ARGV[1], ARGV[2]
local name = owner .. '\0' .. id
local kept = redis.call('HMGET', P .. 'session:' .. name, 'version', 'updated', 'epochs')
if not kept[1] then return 1 end
if kept[1] ~= ARGV[3] then return 0 end

drop('keys', name)
drop('writing:' .. owner, id)
drop('list:' .. owner, kept[2] .. '\0' .. id)
drop('idle', kept[2] .. '\0' .. name)
drop('unlearnt', name)
for epoch in string.gmatch(kept[3], '%d+') do drop('owned', digits(epoch) .. '\0' .. name) end
for _, kind in ipairs({'session:', 'events:', 'index:', 'unlearnt:'}) do redis.call('UNLINK', P .. kind .. name) end

local n = plain(redis.call('INCR', P .. 'numbers'))
for _, kind in ipairs({'rows:', 'texts:'}) do
  if redis.call('EXISTS', P .. kind .. name) == 1 then redis.call('RENAME', P .. kind .. name, P .. kind .. n) end
end
add('deleted', n .. '\0' .. name)
return 1
