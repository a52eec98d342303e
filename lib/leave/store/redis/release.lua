-- Gives shards back. ARGV: me, '1' when I leave, then shard and my token in turn.

for i = 3, #ARGV, 2 do
  if redis.call('HGET', SHARDS, ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', SHARDS, ARGV[i])
    -- The next owner reads from the beginning, so that its IDs may begin anew.
    if redis.call('XLEN', stream_of(ARGV[i])) == 0 then redis.call('DEL', stream_of(ARGV[i])) end
  end
end
if ARGV[2] == '1' then redis.call('HDEL', LEASES, ME) end
if redis.call('EXISTS', LEASES) == 1 then
  announce('owner')
else
  redis.call('DEL', OWNERSHIP, KNOWN, SHARDS)
end
return 1
