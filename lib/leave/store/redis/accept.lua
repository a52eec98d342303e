-- Delegations. ARGV: me, my session, then four each: shard, field, value, and 'late' when the client was answered a while
-- ago and the job has been worked on since, 'loaded' when I know all jobs of the shard, else 'new'.
-- Stores each job, and passes it on to its shard's owner. The same event delegated again leaves the job as it is, unless its
-- owner knows better; an event that comes late does not take the place of one that was delegated after it.
-- Returns nothing when my lease is over, since what a frozen Redis finds late must not be taken; else for each job
-- stored, known or superseded; here or elsewhere; and the job that stood there, where it still does.

local lease_end, session = lease_of(ME)
if lease_end <= now or session ~= ARGV[2] then return {} end

local results = {}
for i = 3, #ARGV, 4 do
  local shard, field, value, kind = unpack(ARGV, i, i + 3)
  local before = redis.call('HGET', JOBS, field)
  local owner = owner_of(shard)
  local outcome = 'stored'
  if before then
    local old_job, new_job = decoded(before), decoded(value)
    local old, new = params_of(old_job), params_of(new_job)
    if old.DelayId == new.DelayId and old.ServerName == new.ServerName and old.DelayTimeout == new.DelayTimeout then
      outcome = 'known'
    -- RFC 3339, always of the same length: such texts compare as the times do.
    elseif kind == 'late' and tostring(old_job.HandedInAt) > tostring(new_job.HandedInAt) then
      outcome = 'superseded'
    end
  end
  local is_kept = outcome == 'superseded' or outcome == 'known' and (kind == 'new' or owner ~= ME)
  if not is_kept then
    put(field, value)
    if owner and owner ~= ME then append(shard, 'job', field) end
  end
  local there = is_kept and #before <= MAX_VALUE_BYTES and before or ''
  results[#results + 1] = {outcome, owner == ME and 'here' or 'elsewhere', there}
end
return results
