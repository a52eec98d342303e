-- One page of the hash. ARGV: me, cursor, fields per page, and one character per shard: '1' for those that are wanted.
-- Removes values that are too long to be jobs. Returns the next cursor, how many of those there were, and fields and values.

-- The shard of a job, by the JSON text of its room; nil for a field that is no job's.
local function shard_of(field)
  local room = string.match(field, '^%[("[^"\\]*"),"')
  if not room and string.sub(field, 1, 2) == '["' then
    local at = 3
    repeat
      at = string.find(field, '["\\]', at)
      if not at then return nil end
      local is_end = string.sub(field, at, at) == '"'
      if is_end then room = string.sub(field, 2, at) else at = at + 2 end
    until is_end
  end
  return room and tonumber(string.sub(redis.sha1hex(room), 1, 2), 16) % SHARD_COUNT
end

-- What releases before the shards kept beside the hash, once none of their replicas is there.
if ARGV[2] == '0' and redis.call('ZCOUNT', TAG .. ':replicas', now, '+inf') == 0 then
  for _, name in ipairs({'fields', 'owners', 'replicas', 'free', 'sessions'}) do redis.call('DEL', TAG .. ':' .. name) end
end

local page = redis.call('HSCAN', JOBS, ARGV[2], 'COUNT', ARGV[3])
local found, too_long = {}, 0
for i = 1, #page[2], 2 do
  local field, value = page[2][i], page[2][i + 1]
  local shard = shard_of(field)
  if shard and string.sub(ARGV[4], shard + 1, shard + 1) == '1' then
    if #field + #value <= MAX_VALUE_BYTES then
      found[#found + 1] = field
      found[#found + 1] = value
    else
      remove(field)
      too_long = too_long + 1
    end
  end
end
return {page[1], too_long, found}
