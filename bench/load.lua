-- What wrk sends: one body per line of the file that BENCH_BODIES names, in turn; and what it counts: answers that are
-- not what they should be. Without a file it asks for /healthz.

local threads = {}
local bodies = {}
local nextBody = 0

function setup(thread)
  table.insert(threads, thread)
end

function init()
  wrong = 0
  local path = os.getenv("BENCH_BODIES")
  if path and path ~= "" then
    for line in io.lines(path) do table.insert(bodies, line) end
  end
end

function request()
  if #bodies == 0 then return wrk.format("GET", "/healthz") end
  nextBody = nextBody % #bodies + 1
  return wrk.format("POST", "/sfu/get", { ["Content-Type"] = "application/json" }, bodies[nextBody])
end

function response(status, _, body)
  local isRight = status == 200 and (#bodies == 0 or body:find('"jwt":"eyJ', 1, true) ~= nil)
  if not isRight then wrong = wrong + 1 end
end

function done(summary, latency)
  local wrongAnswers = 0
  for _, thread in ipairs(threads) do wrongAnswers = wrongAnswers + thread:get("wrong") end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    'BENCH {"requests":%d,"durationUs":%d,"wrong":%d,"errors":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, wrongAnswers, errors, latency:percentile(50), latency:percentile(99)))
end
