-- What all scripts begin with: the keys by name, who owns a shard, and the small steps that several scripts have in common.
--
-- `leases` has one field per replica: when its lease ends, the number of its session, which is new whenever the lease had
-- ended before, and whether it is full: no more jobs fit. `shards` has one field per owned shard: the owner, and the fence,
-- a number that is new with each owner. `fence` is the last of these numbers.
-- `known` is the number of fields of the hash as these scripts have left it: another number means that somebody else wrote.

local JOBS, LEASES, SHARDS, FENCE, KNOWN, OWNERSHIP = unpack(KEYS)
local TAG = '{' .. JOBS .. '}'
local ME = ARGV[1]
local SHARD_COUNT = 64
local MAX_ENTRIES = 2000
local MAX_VALUE_BYTES = 32768
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function stream_of(shard)
  return TAG .. ':stream:' .. shard
end

-- When the lease of a replica ends, its session, and 'full' or 'fits'.
local function read_lease(text)
  local lease_end, session, room = string.match(text or '', '^(%d+) (%d+) (%a+)$')
  return tonumber(lease_end) or 0, session or '', room
end

local function lease_of(replica)
  return read_lease(redis.call('HGET', LEASES, replica))
end

local function replica_in(token)
  return string.match(token, '^%S+')
end

-- The replica that owns a shard; nil when its lease is over.
local function owner_of(shard)
  local token = redis.call('HGET', SHARDS, shard)
  local replica = token and replica_in(token)
  if replica and lease_of(replica) > now then return replica end
  return nil
end

-- A number, as text, that was never given before: counted from the time in µs, since Redis may have lost what it gave.
local function next_fence()
  local fence = string.format('%.0f', math.max(redis.call('INCR', FENCE), time[1] * 1000000 + time[2]))
  redis.call('SET', FENCE, fence)
  return fence
end

-- Makes all replicas ask who owns what, or go through the hash.
local function announce(what)
  redis.call('XADD', OWNERSHIP, 'MAXLEN', 1, '*', what, '')
end

local function append(shard, kind, text)
  redis.call('XADD', stream_of(shard), 'MAXLEN', MAX_ENTRIES, '*', kind, text)
end

local function put(field, value)
  if redis.call('HSET', JOBS, field, value) == 1 then redis.call('INCR', KNOWN) end
end

local function remove(field)
  if redis.call('HDEL', JOBS, field) == 1 then redis.call('DECR', KNOWN) end
end

local function decoded(value)
  local is_json, job = pcall(cjson.decode, value)
  if is_json and type(job) == 'table' then return job end
  return {}
end

local function params_of(job)
  return type(job.Params) == 'table' and job.Params or {}
end
