-- Takes some of what came with a session that was staged into the sets that sessions share: how many. Returns whether there may be more.
local name = redis.call('ZRANGE', P .. 'unlearnt', 0, 0)[1]
if not name then return 0 end
local owner, id = split(name)
local key = P .. 'unlearnt:' .. name

-- As it is by now: a text may have been replaced, and a message compacted.
local function learn(what)
  if string.sub(what, 1, 1) == 'r' then
    local message_id = string.sub(what, 2)
    local member = ripe_member(name, message_id, redis.call('HGET', P .. 'rows:' .. name, message_id))
    if member then add('ripe', member) end
    return 0
  end
  local text = redis.call('HGET', P .. 'texts:' .. name, what)
  if text then add('found:' .. owner, found_member(id, what, text)) end
  return text and #text or 0
end

local learnt, size = 0, 0
for _, what in ipairs(redis.call('LRANGE', key, 0, ARGV[1] - 1)) do
  size = size + learn(what)
  learnt = learnt + 1
  if size >= 1048576 then break end
end
redis.call('LTRIM', key, learnt, -1)
if redis.call('EXISTS', key) == 0 then drop('unlearnt', name) end
return 1
