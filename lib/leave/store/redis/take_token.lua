-- A token bucket, by the clock of Redis. KEYS: the bucket. ARGV: burst, calls per s, when that rate was learnt (ms).
-- The rate that was learnt last counts for all. Returns the ms until there is a token, 0 when one was taken; and the rate
-- and when it was learnt, where another replica's counts.

local burst, rate, learnt_at = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'rate', 'learnt_at')
local is_shared = held[3] and held[4] and tonumber(held[4]) > tonumber(learnt_at)
if is_shared then rate, learnt_at = held[3], held[4] end
local per_ms = tonumber(rate) / 1000
local tokens = burst
if held[1] and held[2] then
  tokens = math.min(burst, tonumber(held[1]) + math.max(0, now - tonumber(held[2])) * per_ms)
end
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) / per_ms) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now), 'rate', rate, 'learnt_at', learnt_at)
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / per_ms) + 60000)
return {wait, is_shared and rate or '', is_shared and learnt_at or ''}
