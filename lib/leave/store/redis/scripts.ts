// The Lua scripts: everything that must happen at once, or not at all, when several replicas share one Redis.
//
// A room is owned by the replica that its entry in `owners` names, for as long as that replica's lease in `replicas`
// lasts. The token there, `replica fence`, is new with each claim: a write with an old token is refused.

import { FREE_CHANNEL, KEYS, TAG } from "./keys.ts";
import { PRELUDE } from "./prelude.ts";

// ARGV: me, lease in ms. Keeps the lease up, frees the rooms of those who did not, and tells what there is to do. The
// session is new whenever the lease had ended: so that is seen even if the first answer after it is lost.
const BEAT = `
if not is_live(ME) or redis.call('HEXISTS', SESSIONS, ME) == 0 then
  redis.call('HSET', SESSIONS, ME, now .. '-' .. redis.call('INCR', FENCE))
end
local session = redis.call('HGET', SESSIONS, ME)
redis.call('ZADD', REPLICAS, now + ARGV[2], ME)
local dead = redis.call('ZRANGEBYSCORE', REPLICAS, '-inf', now)
if #dead > 0 then
  local is_dead = {}
  for _, replica in ipairs(dead) do
    is_dead[replica] = true
    forget_replica(replica)
  end
  local owners = redis.call('HGETALL', OWNERS)
  for i = 1, #owners, 2 do
    if is_dead[replica_in(owners[i + 1])] then release(owners[i]) end
  end
  redis.call('PUBLISH', '${FREE_CHANNEL}', '')
end
local wake = '${TAG}:wake:' .. ME
local rooms = redis.call('SMEMBERS', wake)
redis.call('DEL', wake)
local jobs, fields = redis.call('HLEN', JOBS), redis.call('ZCARD', FIELDS)
return {session, redis.call('ZCARD', REPLICAS), redis.call('SCARD', FREE), jobs, fields, rooms}
`;

// ARGV: me, most rooms. Claims free rooms, no more than a fair share of them.
const CLAIM = `
if not is_live(ME) then return {0, {}} end
local share = math.ceil(redis.call('SCARD', FREE) / redis.call('ZCARD', REPLICAS))
local claimed = {}
for _, room in ipairs(redis.call('SPOP', FREE, math.min(share, tonumber(ARGV[2])))) do
  if not owner_of(room) then
    local jobs = jobs_of(room)
    if #jobs > 0 then
      claimed[#claimed + 1] = {room, claim(room), jobs, take_events(room)}
    else
      redis.call('HDEL', OWNERS, room)
    end
  end
end
return {redis.call('SCARD', FREE), claimed}
`;

// ARGV: me, room, field, value, '1' when the room's jobs are wanted even if it is ours already, session. The same event
// handed in again leaves the job of another replica as it is. What a Redis that was frozen finds late is not taken: the job
// has been worked on in memory since, and is handed in again as it then stands. What was handed over before Redis was back,
// as the last argument tells, does not take the place of another event that was handed over after it.
const ACCEPT = `
local room, field, value = ARGV[2], ARGV[3], ARGV[4]
if not is_live(ME) or redis.call('HGET', SESSIONS, ME) ~= ARGV[6] then return {'lapsed', '', {}, {}} end
local before = redis.call('HGET', JOBS, field)
local is_same = false
if before then
  local old, new = params_of(before), params_of(value)
  is_same = old.DelayId == new.DelayId and old.ServerName == new.ServerName and old.DelayTimeout == new.DelayTimeout
end
local is_late = before and not is_same and ARGV[7] == '1' and handed_in_at(before) > handed_in_at(value)
local owner = owner_of(room)
if owner and owner ~= ME then
  if not is_same and not is_late then put(field, value) end
  tell(room, owner, 'J' .. field)
  return {is_late and 'superseded' or is_same and 'known' or 'elsewhere', '', {}, {}}
end
local jobs, events = is_late and {field, before} or {}, {}
if not owner or ARGV[5] == '1' then
  jobs = jobs_of(room)
  events = take_events(room)
end
if (owner or not is_same) and not is_late then put(field, value) end
local token = owner and redis.call('HGET', OWNERS, room) or claim(room)
return {is_late and 'superseded' or 'here', token, jobs, events}
`;

// ARGV: me, room, event. Passes an event on to the room's owner, or leaves it to whoever will be.
const ROUTE = `
local room = ARGV[2]
local owner = owner_of(room)
if owner and owner ~= ME then
  tell(room, owner, 'E' .. ARGV[3])
  return 'elsewhere'
end
if not owner then append(room, 'E' .. ARGV[3]) end
return 'here'
`;

// ARGV: me, then room and token in turn. What has arrived for rooms of ours.
const TAKE = `
local taken = {}
for i = 2, #ARGV, 2 do
  local room = ARGV[i]
  if redis.call('HGET', OWNERS, room) == ARGV[i + 1] then taken[#taken + 1] = {room, take_events(room)} end
end
return taken
`;

// ARGV: me, then six each: put, remove or drop; room; token; field; delay ID; value.
const WRITE = `
local results = {}
for i = 2, #ARGV, 6 do
  local action, room, token, field, delay_id, value = unpack(ARGV, i, i + 5)
  local before = redis.call('HGET', JOBS, field)
  local result = {'done', ''}
  if action == 'put' then
    local delay_id_before = before and params_of(before).DelayId
    if redis.call('HGET', OWNERS, room) ~= token then
      result = {'lost', ''}
    elseif delay_id_before and delay_id_before ~= delay_id then
      result = {'replaced', before}
    else
      put(field, value)
    end
  else
    local owner = owner_of(room)
    if owner and owner ~= ME then
      result = {'lost', ''}
    else
      local is_it = before and (action == 'drop' and before == value or params_of(before).DelayId == delay_id)
      if is_it then
        redis.call('HDEL', JOBS, field)
        redis.call('ZREM', FIELDS, field)
      end
      if owner and is_empty(room) then
        release(room)
        result = {'emptied', ''}
      end
    end
  end
  results[#results + 1] = result
end
return results
`;

// ARGV: me. All rooms of this replica with their tokens: a claim may have been made whose answer was lost.
const MINE = `
local mine = {}
local owners = redis.call('HGETALL', OWNERS)
for i = 1, #owners, 2 do
  if replica_in(owners[i + 1]) == ME then mine[#mine + 1] = {owners[i], owners[i + 1]} end
end
return mine
`;

// ARGV: me, then room and token in turn. After a stretch out of touch: which rooms are still ours, or are again; and which
// jobs Redis has in each of them.
const RECLAIM = `
if not is_live(ME) then return {} end
local rooms = {}
for i = 2, #ARGV, 2 do
  local room, token = ARGV[i], redis.call('HGET', OWNERS, ARGV[i])
  local owner = owner_of(room)
  if owner and owner ~= ME then
    rooms[#rooms + 1] = {room, '', fields_of(room), {}}
  else
    rooms[#rooms + 1] = {room, owner and token or claim(room), fields_of(room), take_events(room)}
  end
end
return rooms
`;

// ARGV: me. Gives all rooms of this replica back.
const LEAVE = `
local owners = redis.call('HGETALL', OWNERS)
for i = 1, #owners, 2 do
  if replica_in(owners[i + 1]) == ME then release(owners[i]) end
end
forget_replica(ME)
redis.call('PUBLISH', '${FREE_CHANNEL}', '')
return 1
`;

// ARGV: me, then fields of the hash, as others may have written them. Makes them known.
const INDEX = `
local function room_of(field)
  if string.sub(field, 1, 2) ~= '["' then return nil end
  local at = 3
  while true do
    at = string.find(field, '["\\\\]', at)
    if not at then return nil end
    if string.sub(field, at, at) == '"' then return string.sub(field, 2, at) end
    at = at + 2
  end
end

for i = 2, #ARGV do
  local field = ARGV[i]
  if redis.call('HEXISTS', JOBS, field) == 1 then
    local is_new = redis.call('ZADD', FIELDS, 0, field) == 1
    local room = room_of(field)
    local owner = room and owner_of(room)
    if owner and is_new then tell(room, owner, 'J' .. field) end
    if room and not owner then redis.call('SADD', FREE, room) end
  end
end
return redis.call('SCARD', FREE)
`;

// ARGV: me, then fields. Forgets those that are not in the hash any more.
const PRUNE = `
for i = 2, #ARGV do
  if redis.call('HEXISTS', JOBS, ARGV[i]) == 0 then redis.call('ZREM', FIELDS, ARGV[i]) end
end
return 1
`;

// KEYS: a bucket. ARGV: burst, calls per ms. A token bucket by the clock of Redis: 0, or the ms until there is a token.
const ALLOW = `
local burst, per_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = burst
if held[1] and held[2] then
  tokens = math.min(burst, tonumber(held[1]) + math.max(0, now - tonumber(held[2])) * per_ms)
end
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) / per_ms) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / per_ms) + 1000)
return wait
`;

const BODIES = {
  leaveBeat: BEAT,
  leaveClaim: CLAIM,
  leaveAccept: ACCEPT,
  leaveRoute: ROUTE,
  leaveTake: TAKE,
  leaveWrite: WRITE,
  leaveMine: MINE,
  leaveReclaim: RECLAIM,
  leaveLeave: LEAVE,
  leaveIndex: INDEX,
  leavePrune: PRUNE,
};

/** Scripts that work on the {@link KEYS}. */
export type StoreScript = keyof typeof BODIES;
/** All scripts. */
export type ScriptName = StoreScript | "leaveAllow";

/** The scripts as ioredis wants them. */
export const SCRIPTS: Readonly<Record<string, { readonly lua: string; readonly numberOfKeys: number }>> = {
  ...Object.fromEntries(
    Object.entries(BODIES).map(([name, body]) => [name, { lua: PRELUDE + body, numberOfKeys: KEYS.length }]),
  ),
  leaveAllow: { lua: ALLOW, numberOfKeys: 1 },
};
