-- Three rows per request, as the reference project's post.lua asks them, in the same form: {"instances": [[…], […], […]]}.
--
--   wrk -t4 -c100 -d60s --latency -s loadtests/wrk/predict.lua http://localhost:8000/predict
--   wrk … -s loadtests/wrk/predict.lua http://localhost:8000/predict -- body.json      another body, for another table
--
-- LOADTEST_API_KEY: sent as a bearer token. LOADTEST_MAX_FAILURES: most failures that are no failure of the test (default 0).
-- LOADTEST_REQUESTS: a file of whole HTTP requests, each behind a line with its length in bytes, sent in turn instead.
-- LOADTEST_DISTRIBUTION: set, the distribution of latencies is printed as well.
-- Exits with 1 if more requests failed, or none was answered. Prints one JSON line with the numbers at the end.

local body = '{"instances": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.8, 4.8, 1.8], [5.9, 3.0, 4.2, 1.5]]}'

local function prepared(path)
   local file = assert(io.open(path, "rb"))
   local requests, size = {}, file:read("*l")
   while size do
      requests[#requests + 1] = file:read(tonumber(size))
      size = file:read("*l")
   end
   file:close()
   return requests
end

function init(args)
   local path = os.getenv("LOADTEST_REQUESTS")
   if path and path ~= "" then
      local requests, sent = prepared(path), 0
      request = function()
         sent = sent + 1
         return requests[(sent - 1) % #requests + 1]
      end
      return
   end
   if args[1] then
      local file = assert(io.open(args[1], "rb"))
      body = file:read("*a")
      file:close()
   end
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   local key = os.getenv("LOADTEST_API_KEY")
   if key and key ~= "" then
      wrk.headers["Authorization"] = "Bearer " .. key
   end
   wrk.body = body
end

local function distribution(latency)
   local counts = {}
   for i = 1, #latency do
      local value, count = latency(i)
      counts[i] = string.format("[%d,%d]", value, count)
   end
   return string.format(', "latency_us": [%s]', table.concat(counts, ","))
end

function done(summary, latency, requests)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   local seconds = summary.duration / 1e6
   local more = os.getenv("LOADTEST_DISTRIBUTION") and distribution(latency) or ""
   io.write(string.format(
      '{"requests": %d, "requests_per_second": %.1f, "failed": %d, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f,'
         .. ' "seconds": %.6f, "bytes": %d, "errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}%s}\n',
      summary.requests, summary.requests / seconds, failed,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
      seconds, summary.bytes, errors.connect, errors.read, errors.write, errors.status, errors.timeout, more))
   io.flush()
   if summary.requests == 0 or failed > tonumber(os.getenv("LOADTEST_MAX_FAILURES") or "0") then
      os.exit(1)
   end
end
