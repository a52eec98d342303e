-- Jobs by their fields. ARGV: me, then fields. Returns the value of each, '' for one that is gone or too long to be a job.

local values = {}
for i = 2, #ARGV do
  local value = redis.call('HGET', JOBS, ARGV[i])
  values[i - 1] = value and #value <= MAX_VALUE_BYTES and value or ''
end
return values
