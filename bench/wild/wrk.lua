-- Asks for the lines of the file PATHS in turn, each with the lines of HEADERS; one JSON line at the end.
local paths, next_one = {}, 0
for line in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = line end
for name, value in string.gmatch(os.getenv("HEADERS") or "", "([^:\n]+): ([^\n]*)\n") do
  wrk.headers[name] = value
end

local prepared = {}
function init(args)
  for n, path in ipairs(paths) do prepared[n] = wrk.format("GET", path) end
end

function request()
  next_one = next_one % #prepared + 1
  return prepared[next_one]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "micros": %d, "mean": %d, "p50": %d, "p95": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency.mean, latency:percentile(50), latency:percentile(95),
    e.connect + e.read + e.write + e.status + e.timeout))
end
