-- KEYS[1] is the prefix of all our keys, with the hash tag that puts them into one slot. A session is named by its owner and id
-- with a zero byte between them; zero bytes inside are escaped (redis_names.py), so that names sort as (owner, id) does.
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
