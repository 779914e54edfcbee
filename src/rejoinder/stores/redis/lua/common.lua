-- KEYS[1] is the prefix of all our keys, with the hash tag that puts them into one slot. A session is named by its owner and id
-- with a zero byte between them; zero bytes inside are escaped (names.py), so that names sort as (owner, id) does.
--
--   session:<name>  hash: header, version, last (seq), updated, epochs (of its open replies)
--   events:<name>   stream with the ids 0-<seq>; fields t (type), m (message id), d (data)
--   rows:<name>     hash: message id -> "<created> <ended> <ended_at while ripe> <parent, lane and depth as JSON>"
--   index:<name>    sorted by text: c <created> id, p <parent> <created> id, l <lane> <depth> id
--   texts:<name>    hash: m<message id>, or t of the title -> "<at> <words>"
--   list:<owner>    sorted by text: updated_at, id
--   writing:<owner> sorted by text: ids of sessions with open replies
--   found:<owner>   sorted by text: at, id, field of texts
--   keys, idle, owned, ripe   sorted by text: name; updated_at, name; epoch, name; ended_at, name, message id
--   lease:<epoch>   hash: worker, number, results (of its last batch); its time stands in expiries
--   epoch, expiries, schema
--
-- What is long is done by portions, with numbers (`numbers` is the last) in place of names: no session has one.
--   events:<n>, rows:<n>, index:<n>, texts:<n>   of a first append that is staged, or of a session that was deleted
--   staged          hash: n -> "<epoch> <pieces, or whole>"
--   unlearnt:<name or n>   list: fields of texts, and r<message id>, that found and ripe do not have yet; unlearnt: sorted by text: name
--   deleted         sorted by text: n, name; found and ripe may have some of it yet
local P = KEYS[1]

local function add(key, member) redis.call('ZADD', P .. key, 0, member) end
local function drop(key, member) redis.call('ZREM', P .. key, member) end

-- Milliseconds by the clock of the server.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Numbers as text: 16 digits sort, and '..' would write large ones with an exponent.
local function digits(number) return string.format('%016.0f', number) end
local function plain(number) return string.format('%.0f', number) end

local function row_of(text) return string.match(text, '^(%d+) (%d*) (%S*) (.*)$') end

-- A row with its places in the index. `parent`, and `lane` with its depth, are as they sort.
local function put_row(name, id, created, ended, ripe, parent, lane, rest)
  local index = 'index:' .. name
  redis.call('HSET', P .. 'rows:' .. name, id, plain(created) .. ' ' .. ended .. ' ' .. ripe .. ' ' .. rest)
  add(index, 'c\0' .. digits(created) .. '\0' .. id)
  add(index, 'p\0' .. parent .. '\0' .. digits(created) .. '\0' .. id)
  add(index, 'l\0' .. lane .. '\0' .. id)
end

local function put_event(name, seq, kind, message_id, data)
  local key, id = P .. 'events:' .. name, '0-' .. plain(seq)
  if message_id == '' then
    redis.call('XADD', key, id, 't', kind, 'd', data)
  else
    redis.call('XADD', key, id, 't', kind, 'm', message_id, 'd', data)
  end
end

-- An event as four values; false is nil in an answer.
local function push(found, entry)
  local id, fields = entry[1], entry[2]
  local n = #found
  found[n + 1] = string.sub(id, 3)
  found[n + 2] = fields[2]
  if fields[3] == 'm' then
    found[n + 3], found[n + 4] = fields[4], fields[6]
  else
    found[n + 3], found[n + 4] = false, fields[4]
  end
  return #found[n + 4]
end

-- Where the text ends that begins at a place: at the zero byte behind it.
local function text_end(packed, first)
  local place = string.find(packed, '\0', first, true)
  while place and string.byte(packed, place + 1) == 255 do place = string.find(packed, '\0', place + 1, true) end
  return place
end

local function split(packed)
  local place = text_end(packed, 1)
  return string.sub(packed, 1, place - 1), string.sub(packed, place + 1)
end

-- What these shared sets have of a session: of a field of its texts, and of a row.
local function found_member(id, field, text) return string.match(text, '^%S*') .. '\0' .. id .. '\0' .. field end
local function ripe_member(name, message_id, row)
  local _, _, ripe = row_of(row)
  return ripe ~= '' and ripe .. '\0' .. name .. '\0' .. message_id or nil
end

-- What was staged under a number comes to be no session.
local function discard(n)
  for _, kind in ipairs({'events:', 'rows:', 'index:', 'texts:', 'unlearnt:'}) do redis.call('UNLINK', P .. kind .. n) end
  redis.call('HDEL', P .. 'staged', n)
end
