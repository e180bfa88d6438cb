// Prometheus' text format to numbers: as much of it as the charts need.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Samples `{labels, value}` by name; lines that are no samples are passed over. */
export function samples(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (!line || line[0] === "#") continue;
    const [, name, inner, value] = SAMPLE.exec(line) ?? [];
    if (name === undefined) continue;
    const labels = {};
    for (const [, label, quoted] of (inner ?? "").matchAll(LABEL)) labels[label] = quoted.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    const number = { "+Inf": Infinity, "-Inf": -Infinity }[value] ?? Number(value);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels, value: number });
  }
  return found;
}

/** What the charts follow: totals since the server's start. gRPC calls count beside HTTP's POST. */
export function totals(found) {
  const posts = (name) => (found.get(name) ?? []).filter(({ labels }) => labels.method === "POST");
  const sum = (list) => list.reduce((all, { value }) => all + value, 0);
  const http = posts("http_requests_total");
  const calls = found.get("orris_grpc_requests_total") ?? [];
  const refused = [...http.filter(({ labels }) => labels.status >= "400"), ...calls.filter(({ labels }) => labels.code !== "OK")];
  const buckets = new Map();
  for (const { labels, value } of [...posts("http_request_duration_seconds_bucket"), ...(found.get("orris_grpc_request_duration_seconds_bucket") ?? [])]) {
    const edge = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(edge, (buckets.get(edge) ?? 0) + value);
  }
  return {
    requests: sum(http) + sum(calls),
    refused: sum(refused),
    rows: sum(found.get("orris_predictions_total") ?? []),
    inFlight: sum(found.get("orris_requests_in_flight") ?? []),
    buckets: [...buckets].sort(([a], [b]) => a - b),
  };
}

/** What happened between two looks, per second; latencies in milliseconds, `null` where nothing was asked. A restart counts as nothing. */
export function between(before, after, seconds) {
  const rate = (key) => Math.max(0, after[key] - before[key]) / seconds;
  const old = new Map(before.buckets);
  const moved = after.buckets.map(([edge, n]) => [edge, Math.max(0, n - (old.get(edge) ?? 0))]);
  const requests = rate("requests");
  return {
    requests,
    rows: rate("rows"),
    refused: requests ? Math.min(1, rate("refused") / requests) : 0,
    p50: quantile(moved, 0.5),
    p99: quantile(moved, 0.99),
  };
}

/** A quantile of a cumulative histogram in milliseconds, interpolated within its bucket as Prometheus does. */
function quantile(buckets, q) {
  const all = buckets.at(-1)?.[1] ?? 0;
  if (!all) return null;
  const rank = q * all;
  let [low, below] = [0, 0];
  for (const [edge, n] of buckets) {
    if (n >= rank) return 1000 * (edge === Infinity ? low : low + ((edge - low) * (rank - below)) / (n - below));
    [low, below] = [edge, n];
  }
  return null;
}
