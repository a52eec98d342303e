-- Changes of jobs. ARGV: me, then six each: put, remove or drop; shard; my token; field; delay ID; value.
-- `drop` removes a value that is no job. Returns for each done, lost (the shard is another's), or replaced and the job of
-- another event that has taken the place.

local results = {}
for i = 2, #ARGV, 6 do
  local action, shard, token, field, delay_id, value = unpack(ARGV, i, i + 5)
  local before = redis.call('HGET', JOBS, field)
  local result = {'done', ''}
  if action == 'put' then
    local delay_id_before = before and params_of(decoded(before)).DelayId
    if redis.call('HGET', SHARDS, shard) ~= token then
      result = {'lost', ''}
    elseif delay_id_before and delay_id_before ~= delay_id then
      result = {'replaced', #before <= MAX_VALUE_BYTES and before or ''}
    else
      put(field, value)
    end
  else
    local owner = owner_of(shard)
    if owner and owner ~= ME then
      result = {'lost', ''}
    elseif before and (action == 'drop' and before == value or params_of(decoded(before)).DelayId == delay_id) then
      remove(field)
    end
  end
  results[#results + 1] = result
end
return results
