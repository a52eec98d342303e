// What all Lua scripts of the store begin with: the keys by name, whose a room is, and the small steps that keep the hash,
// its index and the lists in line with each other.

import { EVENTS_TTL_MS, MAX_EVENTS, TAG } from "./keys.ts";

/**
 * Lua text, to be put in front.
 *
 * `fields` is a sorted set of all fields, each of score 0: in the order of their bytes, so that those of one room stand
 * together. Rooms are named by their JSON text, as it stands in the fields, since cjson writes it in another way.
 */
export const PRELUDE = `
local JOBS, FIELDS, OWNERS, REPLICAS, FREE, FENCE, SESSIONS = unpack(KEYS)
local ME = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function is_live(replica)
  local lease_end = redis.call('ZSCORE', REPLICAS, replica)
  return lease_end and tonumber(lease_end) > now
end

local function replica_in(token)
  return string.match(token, '^%S+')
end

-- The replica that works on a room, or nil; one whose lease is over does not.
local function owner_of(room)
  local token = redis.call('HGET', OWNERS, room)
  if not token then return nil end
  local replica = replica_in(token)
  if is_live(replica) then return replica end
  return nil
end

local function claim(room)
  local token = ME .. ' ' .. redis.call('INCR', FENCE)
  redis.call('HSET', OWNERS, room, token)
  redis.call('SREM', FREE, room)
  return token
end

local function range_of(room)
  return '[[' .. room .. ',', '[[' .. room .. ',' .. string.char(255)
end

local function fields_of(room)
  local first, last = range_of(room)
  return redis.call('ZRANGEBYLEX', FIELDS, first, last)
end

local function is_empty(room)
  local first, last = range_of(room)
  return #redis.call('ZRANGEBYLEX', FIELDS, first, last, 'LIMIT', 0, 1) == 0
end

-- Fields and values in turn.
local function jobs_of(room)
  local jobs = {}
  for _, field in ipairs(fields_of(room)) do
    local value = redis.call('HGET', JOBS, field)
    if value then
      jobs[#jobs + 1] = field
      jobs[#jobs + 1] = value
    else
      redis.call('ZREM', FIELDS, field)
    end
  end
  return jobs
end

local function put(field, value)
  redis.call('HSET', JOBS, field, value)
  redis.call('ZADD', FIELDS, 0, field)
end

local function params_of(value)
  local is_json, job = pcall(cjson.decode, value)
  if is_json and type(job) == 'table' and type(job.Params) == 'table' then return job.Params end
  return {}
end

-- RFC 3339, always of the same length: such texts compare as the times do.
local function handed_in_at(value)
  local is_json, job = pcall(cjson.decode, value)
  if is_json and type(job) == 'table' and type(job.HandedInAt) == 'string' then return job.HandedInAt end
  return ''
end

local function events_key(room)
  return '${TAG}:events:' .. room
end

local function append(room, entry)
  redis.call('RPUSH', events_key(room), entry)
  redis.call('LTRIM', events_key(room), -${MAX_EVENTS}, -1)
  redis.call('PEXPIRE', events_key(room), ${EVENTS_TTL_MS})
end

local function tell(room, replica, entry)
  append(room, entry)
  local wake = '${TAG}:wake:' .. replica
  redis.call('SADD', wake, room)
  redis.call('PEXPIRE', wake, ${EVENTS_TTL_MS})
  redis.call('PUBLISH', wake, room)
end

-- Entries are 'E' and an event, or 'J' and the field of a job; the job itself follows each as it now stands, or ''.
local function take_events(room)
  local entries = redis.call('LRANGE', events_key(room), 0, -1)
  if #entries > 0 then redis.call('DEL', events_key(room)) end
  local taken = {}
  for _, entry in ipairs(entries) do
    taken[#taken + 1] = entry
    local value = string.sub(entry, 1, 1) == 'J' and redis.call('HGET', JOBS, string.sub(entry, 2))
    taken[#taken + 1] = value or ''
  end
  return taken
end

local function forget_replica(replica)
  redis.call('ZREM', REPLICAS, replica)
  redis.call('HDEL', SESSIONS, replica)
  redis.call('DEL', '${TAG}:wake:' .. replica)
end

local function release(room)
  redis.call('HDEL', OWNERS, room)
  if is_empty(room) then redis.call('SREM', FREE, room) else redis.call('SADD', FREE, room) end
end
`;
