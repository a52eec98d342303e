-- Entries of streams that have been taken in. ARGV: me, then for each stream its shard, my token, how many IDs, and these.
-- Removes them, unless the shard is another's by now. Returns how long each stream was: a full one has lost entries.

local lengths = {}
local i = 2
while i <= #ARGV do
  local shard, token, count = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local length = 0
  if redis.call('HGET', SHARDS, shard) == token then
    length = redis.call('XLEN', stream_of(shard))
    redis.call('XDEL', stream_of(shard), unpack(ARGV, i + 3, i + 2 + count))
  end
  lengths[#lengths + 1] = length
  i = i + 3 + count
end
return lengths
