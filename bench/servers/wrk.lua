-- What wrk sends (HEADERS in the environment: short or browser), and its result as one JSON line.
-- There is no request() here: wrk then formats the request once and only repeats the bytes.
if os.getenv("HEADERS") == "browser" then
  wrk.headers["Host"] = "www.example.com"
  wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
  wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
  wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
  wrk.headers["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8"
  wrk.headers["Cache-Control"] = "max-age=0"
  wrk.headers["Cookie"] = "sessionid=k3v9x1c7m5q2w8e4r6t0y2u4i6o8p0a1; csrftoken=Zx81Lq0pWm47Rt2cVb"
  wrk.headers["Referer"] = "https://www.example.com/"
  wrk.headers["Sec-Ch-Ua-Platform"] = "\"Linux\""
  wrk.headers["Sec-Fetch-Dest"] = "document"
  wrk.headers["Sec-Fetch-Mode"] = "navigate"
  wrk.headers["Sec-Fetch-Site"] = "same-origin"
  wrk.headers["Upgrade-Insecure-Requests"] = "1"
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
