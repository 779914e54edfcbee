-- A page of an owner's list, the latest first: owner, bound (exclusive, or +), how many. Returns header and last seq of each.
local found = {}
for _, member in ipairs(redis.call('ZRANGE', P .. 'list:' .. ARGV[1], ARGV[2], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])) do
  local id = string.sub(member, string.find(member, '\0', 1, true) + 1)
  local kept = redis.call('HMGET', P .. 'session:' .. ARGV[1] .. '\0' .. id, 'header', 'last')
  found[#found + 1], found[#found + 2] = kept[1], kept[2]
end
return found
