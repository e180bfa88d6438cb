-- Three rows per request, as the reference project's post.lua asks them, in the same form: {"instances": [[…], […], […]]}.
--
--   wrk -t4 -c100 -d60s --latency -s loadtests/wrk/predict.lua http://localhost:8000/predict
--   wrk … -s loadtests/wrk/predict.lua http://localhost:8000/predict -- body.json      another body, for another table
--
-- LOADTEST_API_KEY: sent as a bearer token. LOADTEST_MAX_FAILURES: most failures that are no failure of the test (default 0).
-- Exits with 1 if more requests failed, or none was answered. Prints one JSON line with the numbers at the end.

local body = '{"instances": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.8, 4.8, 1.8], [5.9, 3.0, 4.2, 1.5]]}'

function init(args)
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

function done(summary, latency, requests)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   local seconds = summary.duration / 1e6
   io.write(string.format(
      '{"requests": %d, "requests_per_second": %.1f, "failed": %d, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f}\n',
      summary.requests, summary.requests / seconds, failed,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
   io.flush()
   if summary.requests == 0 or failed > tonumber(os.getenv("LOADTEST_MAX_FAILURES") or "0") then
      os.exit(1)
   end
end
