-- Rows by ranges of the index: name, and for each range low, high, the bytes before the id, how many, and 1 for the last of them.
-- Returns ids and rows of each range, in ascending order.
local index, rows, answer = P .. 'index:' .. ARGV[1], P .. 'rows:' .. ARGV[1], {}
for place = 2, #ARGV, 5 do
  local low, high, skip, limit = ARGV[place], ARGV[place + 1], tonumber(ARGV[place + 2]), ARGV[place + 3]
  local members
  if ARGV[place + 4] == '1' then
    members = redis.call('ZRANGE', index, high, low, 'BYLEX', 'REV', 'LIMIT', 0, limit)
  else
    members = redis.call('ZRANGE', index, low, high, 'BYLEX', 'LIMIT', 0, limit)
  end
  local found = {}
  for n, member in ipairs(members) do
    local id = string.sub(member, skip + 1)
    found[2 * n - 1], found[2 * n] = id, redis.call('HGET', rows, id)
  end
  answer[#answer + 1] = found
end
return answer
