-- A page of an owner's sessions with open replies, by id: owner, bound (exclusive, or -), how many. Returns header and last seq of each.
local found = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'writing:' .. ARGV[1], ARGV[2], '+', 'BYLEX', 'LIMIT', 0, ARGV[3])) do
  local kept = redis.call('HMGET', P .. 'session:' .. ARGV[1] .. '\0' .. id, 'header', 'last')
  found[#found + 1], found[#found + 2] = kept[1], kept[2]
end
return found
