-- Events by their seqs: name, seqs. Returns four values for each, behind the number of seqs that were looked at.
local found, size = {''}, 0
for place = 2, #ARGV do
  local id = '0-' .. ARGV[place]
  local entry = redis.call('XRANGE', P .. 'events:' .. ARGV[1], id, id)[1]
  if entry then size = size + push(found, entry) end
  if size >= 4194304 then
    found[1] = tostring(place - 1)
    return found
  end
end
found[1] = tostring(#ARGV - 1)
return found
