-- Commits a batch: epoch, worker, number, the last number that was acknowledged, how many appends, and then each
-- (batch.py writes them).
-- Returns done with a result for each append, lost, passed with the last number, or wrong with what is wrong.
local lease = P .. 'lease:' .. ARGV[1]
local held = redis.call('HMGET', lease, 'worker', 'number', 'results')
if held[1] ~= ARGV[2] then return {'lost'} end
local number, last_number = tonumber(ARGV[3]), tonumber(held[2])
if last_number < tonumber(ARGV[4]) then return {'lost'} end
if number < last_number then return {'passed', held[2]} end
if number == last_number then return {'done', held[3]} end

local at = 5
local function take()
  at = at + 1
  return ARGV[at]
end

local function take_each(count, width)
  local found = {}
  for n = 1, count do
    local values = {}
    for place = 1, width do values[place] = take() end
    found[n] = values
  end
  return found
end

local function take_append()
  local append = {owner = take(), id = take(), expect = take(), version = take()}
  append.name = append.owner .. '\0' .. append.id
  if append.version ~= '' then append.header, append.updated, append.epochs, append.writes = take(), take(), take(), take() end
  local drafts, created, ended, texts, staged = string.match(take(), '^(%d+) (%d+) (%d+) (%d+) ?(%d*)$')
  append.size, append.staged = tonumber(drafts), staged ~= '' and staged or nil
  append.drafts = take_each(append.staged and 0 or append.size, 3)
  append.created = take_each(tonumber(created), 6)
  append.ended = take_each(tonumber(ended), 3)
  append.texts = take_each(tonumber(texts), 3)
  return append
end

-- Where the sessions of this batch stand, as far as it has been settled.
local places = {}
local function place_of(name)
  local place = places[name]
  if place == nil then
    local kept = redis.call('HMGET', P .. 'session:' .. name, 'version', 'last')
    place = {there = kept[1] and true or false, version = kept[1] or '', last = tonumber(kept[2] or 0), rows = {}, now = name}
    places[name] = place
  end
  return place
end

local function refusal(append, place)
  if append.expect == '0' then return place.there and 'exists' or nil end
  if not place.there then return 'missing' end
  if append.expect ~= '' and append.expect ~= place.version then return 'version' end
  return nil
end

local function known(append, place, id)
  return place.rows[id] or redis.call('HEXISTS', P .. 'rows:' .. place.now, id) == 1
end

-- What contradicts itself is no refusal: nothing of the batch is done.
local function wrong(append, place)
  for _, row in ipairs(append.created) do
    if known(append, place, row[1]) then return 'There is a message ' .. row[1] .. ' already.' end
    place.rows[row[1]] = true
  end
  for _, ended in ipairs(append.ended) do
    if not known(append, place, ended[1]) then return 'There is no message ' .. ended[1] .. ' to end.' end
  end
  return nil
end

local accepted, discarded, results = {}, {}, {}
for n = 1, tonumber(ARGV[5]) do
  local append = take_append()
  local place = place_of(append.name)
  local refused = refusal(append, place)
  if refused then
    results[n] = refused
    discarded[#discarded + 1] = append.staged
  else
    local fault = wrong(append, place)
    if fault then return {'wrong', fault} end
    if append.staged then
      if redis.call('HGET', P .. 'staged', append.staged) ~= ARGV[1] .. ' whole' then return {'lost'} end
      place.now = append.staged
    end
    append.first = place.last + 1
    place.there, place.last = true, place.last + append.size
    if append.version ~= '' then place.version = append.version end
    accepted[#accepted + 1] = append
    results[n] = plain(append.first)
  end
end

-- From here on nothing may fail. The first write is one that a full memory refuses.
results = table.concat(results, ' ')
redis.call('HSET', lease, 'number', ARGV[3], 'results', results)

local function write_header(append, key)
  local old = redis.call('HMGET', key, 'updated', 'epochs')
  redis.call('HSET', key, 'header', append.header, 'version', append.version, 'updated', append.updated, 'epochs',
    append.epochs)
  if not old[1] then add('keys', append.name) end
  if old[1] ~= append.updated then
    if old[1] then
      drop('list:' .. append.owner, old[1] .. '\0' .. append.id)
      drop('idle', old[1] .. '\0' .. append.name)
    end
    add('list:' .. append.owner, append.updated .. '\0' .. append.id)
    add('idle', append.updated .. '\0' .. append.name)
  end
  if append.writes == '1' then add('writing:' .. append.owner, append.id) else drop('writing:' .. append.owner, append.id) end
  if (old[2] or '') ~= append.epochs then
    for epoch in string.gmatch(old[2] or '', '%d+') do drop('owned', digits(epoch) .. '\0' .. append.name) end
    for epoch in string.gmatch(append.epochs, '%d+') do add('owned', digits(epoch) .. '\0' .. append.name) end
  end
end

-- What is staged under a number comes to be the session's.
local function take_over(append)
  for _, kind in ipairs({'events:', 'rows:', 'index:', 'texts:', 'unlearnt:'}) do
    local staged = P .. kind .. append.staged
    if redis.call('EXISTS', staged) == 1 then redis.call('RENAME', staged, P .. kind .. append.name) end
  end
  redis.call('HDEL', P .. 'staged', append.staged)
  add('unlearnt', append.name)
end

local function write_rows(append)
  local rows = P .. 'rows:' .. append.name
  for _, row in ipairs(append.created) do
    local created = append.first + row[2]
    put_row(append.name, row[1], created, row[3] == '1' and plain(created) or '', '', row[4], row[5], row[6])
  end
  for _, ended in ipairs(append.ended) do
    local id = ended[1]
    local created, _, ripe, rest = row_of(redis.call('HGET', rows, id))
    if ripe ~= '' then drop('ripe', ripe .. '\0' .. append.name .. '\0' .. id) end
    redis.call('HSET', rows, id, created .. ' ' .. plain(append.first + ended[2]) .. ' ' .. ended[3] .. ' ' .. rest)
    add('ripe', ended[3] .. '\0' .. append.name .. '\0' .. id)
  end
end

local function write_texts(append)
  local key, found = P .. 'texts:' .. append.name, 'found:' .. append.owner
  for _, text in ipairs(append.texts) do
    local field, time, words = text[1], text[2], text[3]
    local old = redis.call('HGET', key, field)
    if old then drop(found, found_member(append.id, field, old)) end
    if words == '' then
      redis.call('HDEL', key, field)
    else
      redis.call('HSET', key, field, time .. ' ' .. words)
      add(found, time .. '\0' .. append.id .. '\0' .. field)
    end
  end
end

for _, n in ipairs(discarded) do discard(n) end
local touched = {}
for _, append in ipairs(accepted) do
  local key = P .. 'session:' .. append.name
  if append.header then write_header(append, key) end
  if append.staged then take_over(append) end
  for place, draft in ipairs(append.drafts) do put_event(append.name, append.first + place - 1, draft[1], draft[2], draft[3]) end
  write_rows(append)
  write_texts(append)
  touched[key] = places[append.name].last
end
for key, last in pairs(touched) do redis.call('HSET', key, 'last', plain(last)) end
return {'done', results}
