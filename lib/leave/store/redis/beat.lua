-- A heartbeat. ARGV: me, lease in ms, 'full' or 'fits', whether to claim ('free', 'none', or 'unless
-- lapsed': not when my lease was over), then the shards that I hold.
-- Keeps my lease up, ends those that are over, and makes shards of nobody mine: those that I hold, and others up to my share.
-- Returns my session, the number of replicas, my share, the ms until the next lease ends, and my token for each shard ('').

local lease_end, session = lease_of(ME)
local is_changed = lease_end <= now
local claims = ARGV[4] == 'free' or ARGV[4] == 'unless lapsed' and not is_changed
if is_changed then session = next_fence() end
redis.call('HSET', LEASES, ME, (now + ARGV[2]) .. ' ' .. session .. ' ' .. ARGV[3])

local replicas, fitting, is_live, is_full, next_end = 0, {}, {}, {}, now + ARGV[2]
local leases = redis.call('HGETALL', LEASES)
for i = 1, #leases, 2 do
  local replica, ends_at, _, room = leases[i], read_lease(leases[i + 1])
  if ends_at > now then
    replicas = replicas + 1
    is_live[replica] = true
    if room == 'full' then is_full[replica] = true else fitting[#fitting + 1] = replica end
    next_end = math.min(next_end, ends_at)
  else
    redis.call('HDEL', LEASES, replica)
  end
end

local is_held = {}
for i = 5, #ARGV do is_held[ARGV[i]] = true end
local owners = redis.call('HGETALL', SHARDS)
local token_of = {}
for i = 1, #owners, 2 do
  if is_live[replica_in(owners[i + 1])] then token_of[owners[i]] = owners[i + 1] end
end

local mine, of_full = 0, 0
for _, token in pairs(token_of) do
  if replica_in(token) == ME then mine = mine + 1 end
  if is_full[replica_in(token)] then of_full = of_full + 1 end
end
-- Those that are full keep what they have, up to an even share; the others share the rest.
table.sort(fitting)
local share = math.ceil(SHARD_COUNT / replicas)
if not is_full[ME] then
  local rest = SHARD_COUNT - of_full
  share = math.floor(rest / #fitting)
  for place = 1, rest % #fitting do
    if fitting[place] == ME then share = share + 1 end
  end
end
local function claim(shard)
  token_of[shard] = ME .. ' ' .. next_fence()
  redis.call('HSET', SHARDS, shard, token_of[shard])
  mine = mine + 1
  is_changed = true
end
for shard in pairs(is_held) do
  if not token_of[shard] then claim(shard) end
end
for shard = 0, SHARD_COUNT - 1 do
  if claims and mine < share and not token_of[tostring(shard)] then claim(tostring(shard)) end
end
if is_changed then announce('owner') end

local count = redis.call('HLEN', JOBS)
if count ~= tonumber(redis.call('GET', KNOWN) or 0) and redis.call('SET', TAG .. ':scanned', '', 'NX', 'PX', 5000) then
  redis.call('SET', KNOWN, count)
  announce('scan')
end

local tokens = {}
for shard = 0, SHARD_COUNT - 1 do
  local token = token_of[tostring(shard)]
  tokens[shard + 1] = token and replica_in(token) == ME and token or ''
end
return {session, replicas, share, next_end - now, tokens}
