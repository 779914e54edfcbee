-- Looks through some of an owner's texts, the latest first: owner, bound (exclusive, or +), how many, and the beginnings of words.
-- Returns what has them all, behind the bound to go on from ('' at the end) and how many were looked through. Stops after a megabyte, for others.
local found, size = {'', 0}, 0
local starts = {}
for place = 4, #ARGV do starts[place - 3] = ' ' .. ARGV[place] end

local function has_all(text)
  for _, start in ipairs(starts) do
    if not string.find(text, start, 1, true) then return false end
  end
  return true
end

local members = redis.call('ZRANGE', P .. 'found:' .. ARGV[1], ARGV[2], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])
for n, member in ipairs(members) do
  local id = string.find(member, '\0', 1, true) + 1
  local field = text_end(member, id)
  local name = ARGV[1] .. '\0' .. string.sub(member, id, field - 1)
  local text = redis.call('HGET', P .. 'texts:' .. name, string.sub(member, field + 1))
  -- It is another, or none, where the session was deleted and this is not dropped yet.
  if text and string.sub(text, 1, id - 1) == string.sub(member, 1, id - 2) .. ' ' then
    size, found[2] = size + #text, found[2] + 1
    if has_all(text) then found[#found + 1] = member end
  end
  if size >= 1048576 or n == #members and n == tonumber(ARGV[3]) then
    found[1] = '(' .. member
    break
  end
end
return found
