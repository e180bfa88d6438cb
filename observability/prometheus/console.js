// Draws the Grafana dashboards of ../dashboards with Prometheus' API and nothing else: a look at them without a Grafana.
// Served by Prometheus itself (--web.user-assets=observability): /user/prometheus/console.html#orris-serving
"use strict";

const BOARDS = ["orris-serving", "orris-quality", "orris-fleet"];
const COLOURS = ["#e07b39", "#3f7fd0", "#3a9d5d", "#c44d8f", "#8a63d2", "#b8911f", "#26a0a5", "#d1504a", "#7c8a99", "#5d6fd6"];
const NAMED = { green: "var(--green)", yellow: "var(--yellow)", orange: "var(--orange)", red: "var(--red)" };
const PADDING = { left: 60, right: 6, top: 6, bottom: 16 };

let scrapeSeconds = 15, boards = {}, chosen = {}, drawing = 0;

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "line", "text", "title", "g"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// values and labels

function shown(value, unit) {
  if (value === null || !Number.isFinite(value)) return "–";
  const round = (number, digits = 3) => String(Number(number.toPrecision(digits)));
  const scaled = (steps) => { const [size, name] = steps.find(([size]) => Math.abs(value) >= size) ?? steps.at(-1); return round(value / size) + name; };
  if (value === 0) return unit === "percentunit" ? "0 %" : "0";
  if (unit === "s") return scaled([[86400, " d"], [3600, " h"], [60, " min"], [1, " s"], [1e-3, " ms"], [1e-6, " µs"]]);
  if (unit === "bytes") return scaled([[2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"], [1, " B"]]);
  if (unit === "percentunit") return round(value * 100) + " %";
  if (unit === "none") return Math.abs(value) < 0.005 ? "0" : String(Number(value.toFixed(2)));
  const suffix = { reqps: " req/s", rowsps: " rows/s", cps: " /s" }[unit] ?? "";
  if (Math.abs(value) >= 1000) return scaled([[1e9, "G"], [1e6, "M"], [1e3, "k"]]) + suffix;
  return round(value) + suffix;
}

function called(legend, labels) {
  if (legend && legend !== "__auto") return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "").trim() || "value";
  return Object.entries(labels).filter(([key]) => key !== "__name__").map(([, value]) => value).join(" ") || "value";
}

function colourOf(value, defaults) {
  let colour = "green";
  for (const step of defaults?.thresholds?.steps ?? []) if (step.value === null || value >= step.value) colour = step.color;
  return NAMED[colour] ?? colour;
}

// Prometheus

async function api(path, parameters) {
  const answer = await fetch("/api/v1/" + path + "?" + new URLSearchParams(parameters));
  const told = await answer.json();
  if (told.status !== "success") throw new Error(told.error);
  return told.data;
}

function filled(expr, step) {
  const every = Math.max(4 * scrapeSeconds, step + scrapeSeconds);
  const values = { __rate_interval: every + "s", job: "orris", ...chosen };
  return expr.replace(/\$\{?(\w+)\}?/g, (_, name) => values[name] ?? ".*");
}

async function series(target, span, instant) {
  const end = Math.floor(Date.now() / 1000), step = Math.max(scrapeSeconds, Math.ceil(span / 120));
  const query = filled(target.expr, step);
  if (instant) {
    const { result } = await api("query", { query, time: end });
    return result.map(({ metric, value }) => ({ labels: metric, points: [[value[0], Number(value[1])]] }));
  }
  const start = Math.ceil((end - span) / step) * step;
  const { result } = await api("query_range", { query, start, end, step });
  return result.map(({ metric, values }) => ({ labels: metric, points: values.map(([time, value]) => [time, Number(value)]) }));
}

// kinds of panels

function frame(body, span, top, unit) {
  const width = Math.max(120, body.clientWidth), height = Math.max(80, body.clientHeight);
  const now = Date.now() / 1000, inner = { w: width - PADDING.left - PADDING.right, h: height - PADDING.top - PADDING.bottom };
  const x = (time) => PADDING.left + ((time - now + span) / span) * inner.w;
  const y = (value) => PADDING.top + inner.h * (1 - value / top);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const part of [0, 0.5, 1]) {
    svg.append(make("line", { x1: PADDING.left, x2: width - PADDING.right, y1: y(part * top), y2: y(part * top), stroke: "var(--line)" }));
    if (unit) svg.append(make("text", { x: PADDING.left - 4, y: y(part * top) + 3, "text-anchor": "end" }, shown(part * top, unit)));
  }
  for (const part of [0, 0.5, 1]) {
    const time = new Date((now - span * (1 - part)) * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: span <= 900 ? "2-digit" : undefined });
    svg.append(make("text", { x: x(now - span * (1 - part)), y: height - 3, "text-anchor": ["start", "middle", "end"][part * 2] }, time));
  }
  return { svg, x, y, width, height: inner.h };
}

function niceTop(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * size).find((step) => step >= value);
}

function lines(panel, found, span, body) {
  const { defaults } = panel.fieldConfig, custom = defaults.custom ?? {}, stacked = custom.stacking?.mode === "normal";
  const all = found.map((each) => ({ ...each, points: each.points.filter(([, value]) => Number.isFinite(value)) }));
  if (stacked) {
    const sums = new Map();
    for (const each of all) each.points = each.points.map(([time, value]) => { const base = sums.get(time) ?? 0; sums.set(time, base + value); return [time, base + value, base]; });
  }
  const largest = Math.max(0, ...all.flatMap((each) => each.points.map(([, value]) => value)));
  const limits = custom.thresholdsStyle ? defaults.thresholds.steps.filter((step) => step.value !== null) : [];
  const near = limits.map((limit) => limit.value).filter((value, i) => value <= 3 * largest || (i === 0 && !largest));
  const top = defaults.max ?? niceTop(Math.max(largest * 1.02, custom.axisSoftMax ?? 0, ...near.slice(0, 1)));
  const legend = make("div", { class: "legend", tabindex: 0, role: "group", "aria-label": "Lines of " + panel.title }, ...all.map((each, i) => make("span", {}, make("i", { style: `background:${COLOURS[i % COLOURS.length]}` }), each.name)));
  body.after(legend);
  const { svg, x, y, width } = frame(body, span, top, defaults.unit);
  all.forEach((each, i) => {
    const colour = COLOURS[i % COLOURS.length], path = each.points.map(([time, value]) => `${x(time).toFixed(1)},${y(Math.min(value, top)).toFixed(1)}`);
    if (stacked && path.length) {
      const back = each.points.map(([time, , base]) => `${x(time).toFixed(1)},${y(Math.min(base, top)).toFixed(1)}`).reverse();
      svg.append(make("path", { d: "M" + path.join("L") + "L" + back.join("L") + "Z", fill: colour, "fill-opacity": 0.55 }));
    }
    if (!path.length) return;
    const line = make("path", { d: "M" + path.join("L"), fill: "none", stroke: colour, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }, make("title", {}, each.name));
    svg.append(line);
  });
  for (const limit of limits.filter((limit) => limit.value <= top))
    svg.append(make("line", { x1: PADDING.left, x2: width - PADDING.right, y1: y(limit.value), y2: y(limit.value), stroke: NAMED[limit.color], "stroke-dasharray": "5 4" }));
  svg.setAttribute("aria-label", panel.title + ": " + all.map((each) => `${each.name} ${shown(each.points.at(-1)?.[1] ?? null, defaults.unit)}`).slice(0, 12).join(", "));
  body.replaceChildren(svg);
}

function figure(panel, found, span, body) {
  const { defaults } = panel.fieldConfig, points = found[0].points.filter(([, value]) => Number.isFinite(value));
  const value = points.at(-1)?.[1] ?? null, colour = value === null ? "var(--faint)" : colourOf(value, defaults);
  const largest = Math.max(...points.map(([, value]) => value), 1e-12), x = (i) => (i / Math.max(1, points.length - 1)) * 100, y = (value) => 58 - (value / largest) * 52;
  const spark = make("svg", { viewBox: "0 0 100 60", preserveAspectRatio: "none", style: "height:40%", "aria-hidden": "true" });
  const path = points.map(([, value], i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join("L");
  if (points.length) spark.append(make("path", { d: `M0,60L${path}L100,60Z`, fill: colour, "fill-opacity": 0.2 }), make("path", { d: "M" + path, fill: "none", stroke: colour, "vector-effect": "non-scaling-stroke" }));
  body.replaceChildren(make("div", { class: "big", style: `color:${colour}` }, shown(value, defaults.unit)), spark);
}

function heatmap(panel, found, span, body) {
  const bound = (each) => (each.labels.le === "+Inf" ? Infinity : Number(each.labels.le));
  const rows = found.filter((each) => each.labels.le !== undefined).sort((a, b) => bound(a) - bound(b));
  const cells = rows.map((row, i) => new Map(row.points.map(([time, value], j) => [time, Math.max(0, value - (i ? (new Map(rows[i - 1].points).get(time) ?? 0) : 0))])));
  const largest = Math.max(1e-12, ...cells.flatMap((cell) => [...cell.values()]));
  const { svg, x, height } = frame(body, span, 1, ""), each = height / rows.length;
  const times = [...new Set(rows.flatMap((row) => row.points.map(([time]) => time)))].sort((a, b) => a - b);
  const width = times.length > 1 ? x(times[1]) - x(times[0]) : 8;
  rows.forEach((row, i) => {
    const y = PADDING.top + height - (i + 1) * each;
    if (i % 3 === 0 || i === rows.length - 1) svg.append(make("text", { x: PADDING.left - 4, y: y + each / 2 + 3, "text-anchor": "end" }, Number.isFinite(bound(row)) ? shown(bound(row), "s") : "∞"));
    for (const [time, value] of cells[i])
      if (value > 0) svg.append(make("rect", { x: (x(time) - width / 2).toFixed(1), y: y.toFixed(1), width: Math.max(1, width - 0.5).toFixed(1), height: Math.max(1, each - 0.5).toFixed(1), fill: "#e07b39", "fill-opacity": Math.max(0.08, Math.sqrt(value / largest)).toFixed(2) }));
  });
  svg.setAttribute("aria-label", panel.title);
  body.replaceChildren(svg);
}

function bars(panel, found, span, body) {
  const { defaults } = panel.fieldConfig, top = defaults.max ?? Math.max(1e-12, ...found.map((each) => each.points[0][1]));
  body.replaceChildren(...found.map((each) => {
    const value = each.points[0][1];
    return make("div", { class: "bar" }, make("span", {}, each.name), make("b", { style: `width:${Math.max(0, Math.min(1, value / top)) * 100}%;background:${colourOf(value, defaults)}` }), make("span", {}, shown(value, defaults.unit)));
  }));
}

function table(panel, results, body) {
  const { renameByName, indexByName } = panel.transformations.find((each) => each.id === "organize").options, columns = Object.values(renameByName);
  const overrides = Object.fromEntries(panel.fieldConfig.overrides.map((each) => [each.matcher.options, Object.fromEntries(each.properties.map(({ id, value }) => [id, value]))]));
  const rows = new Map();
  results.forEach((found, i) => {
    for (const { labels, points } of found) {
      const { __name__, ...rest } = labels, key = JSON.stringify(Object.entries(rest).sort());
      rows.set(key, { labels: rest, ...rows.get(key), ["#" + i]: points[0][1] });
    }
  });
  const heads = [...new Set([...rows.values()].flatMap((row) => Object.keys(row.labels)))].sort((a, b) => (indexByName[a] ?? 99) - (indexByName[b] ?? 99));
  const line = (row) => make("tr", {}, ...heads.map((head) => make("td", {}, row.labels[head] ?? "")), ...columns.map((column, i) => {
    const { unit, thresholds } = overrides[column] ?? {}, value = row["#" + i] ?? null;
    return make("td", { class: "number", style: thresholds && value !== null ? `color:${colourOf(value, { thresholds })}` : "" }, shown(value, unit));
  }));
  const head = make("tr", {}, ...heads.map((each) => make("th", { scope: "col" }, each)), ...columns.map((each) => make("th", { scope: "col", class: "number" }, each)));
  body.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...[...rows.values()].map(line))));
}

function prose(panel, body) {
  const paragraphs = panel.options.content.trim().split(/\n\n+/).map((text) => {
    const parts = text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => (part.startsWith("**") ? make("strong", {}, part.slice(2, -2)) : part.startsWith("`") ? make("code", {}, part.slice(1, -1)) : part));
    return make("p", { style: "margin:0 0 .5em" }, ...parts);
  });
  body.replaceChildren(...paragraphs);
}

async function fill(panel, section, span) {
  const body = section.querySelector(".body"), instant = panel.type === "table" || panel.type === "bargauge";
  if (panel.type === "text") return prose(panel, body);
  const results = await Promise.all(panel.targets.map((target) => series(target, span, instant)));
  const found = results.flatMap((result, i) => result.map((each) => ({ ...each, name: called(panel.targets[i].legendFormat, each.labels) })));
  section.querySelector(".legend")?.remove();
  body.replaceChildren();
  if (!found.length) return body.replaceChildren(make("div", { class: "none" }, panel.fieldConfig.defaults.noValue ?? "no data"));
  if (panel.type === "table") return table(panel, results, body);
  return { timeseries: lines, stat: figure, heatmap, bargauge: bars }[panel.type](panel, found, span, body);
}

// the page

function lay(board) {
  document.title = board.title;
  const elements = board.panels.map((panel) => {
    const { x, y, w, h } = panel.gridPos, style = `grid-column:${x + 1}/span ${w};grid-row:${y + 1}/span ${h}`;
    if (panel.type === "row") return make("h2", { style }, panel.title);
    const target = panel.targets?.[0], title = target ? make("a", { href: "/graph?" + new URLSearchParams({ "g0.expr": filled(target.expr, 15), "g0.tab": 0 }) }, panel.title) : panel.title;
    return make("section", { class: panel.type, style, title: panel.description ?? "" }, make("h3", {}, title), make("div", { class: "body", tabindex: 0, role: "group", "aria-label": panel.title }));
  });
  document.querySelector("main").replaceChildren(...elements);
}

// Where a dashboard wants one of several, as the quality of one model: a choice, the first at first.
async function choose(board) {
  const box = document.getElementById("choices"), wanted = board.templating.list.filter((each) => each.type === "query" && !each.includeAll && each.name !== "job");
  const first = {}, selects = [];
  for (const { name, label } of wanted) {
    const values = await api(`label/${name}/values`, { "match[]": 'orris_model_info{job="orris"}' });
    const select = make("select", { "aria-label": label }, ...values.map((value) => make("option", {}, value)));
    select.addEventListener("change", () => { chosen[name] = select.value; draw(true); });
    first[name] = values[0] ?? ".*";
    selects.push(select);
  }
  chosen = first;
  box.replaceChildren(...selects);
}

// What fires, the gravest first, each with its runbook; and how many servers there are to look at.
async function tell() {
  const rank = (alert) => ["critical", "warning"].indexOf(alert.labels.severity) >>> 0;
  const firing = (await api("alerts", {})).alerts.filter((alert) => alert.state === "firing").sort((a, b) => rank(a) - rank(b));
  document.getElementById("alerts").replaceChildren(...firing.map(({ labels, annotations }) => {
    const name = make("a", { href: annotations.runbook_url, rel: "noreferrer" }, labels.alertname);
    return make("li", { class: labels.severity }, name, ` ${labels.severity}: ${annotations.summary}`);
  }));
  const targets = (await api("targets", { state: "active" })).activeTargets;
  return `${targets.filter((target) => target.health === "up").length} of ${targets.length} servers answer`;
}

async function draw(again) {
  const uid = BOARDS.includes(location.hash.slice(1)) ? location.hash.slice(1) : BOARDS[0], mine = ++drawing;
  const board = (boards[uid] ??= await (await fetch(`../dashboards/${uid}.json`)).json());
  for (const link of document.querySelectorAll('nav[aria-label="Dashboards"] a')) link.toggleAttribute("aria-current", link.hash === "#" + uid);
  if (!again) { lay(board); await choose(board); }
  const span = Number(document.getElementById("span").value), sections = document.querySelectorAll("main > section");
  let wrong = 0;
  await Promise.all(board.panels.filter((panel) => panel.type !== "row").map((panel, i) => fill(panel, sections[i], span).catch((error) => {
    wrong += 1;
    if (mine === drawing) sections[i].querySelector(".body").replaceChildren(make("div", { class: "none wrong" }, error.message));
  })));
  const servers = await tell();
  if (mine !== drawing) return;
  document.getElementById("state").textContent = servers + (wrong ? `, ${wrong} panels could not be drawn` : ", drawn at " + new Date().toLocaleTimeString());
}

async function begin() {
  document.querySelector('nav[aria-label="Dashboards"]').append(...BOARDS.map((uid) => make("a", { href: "#" + uid }, { serving: "Model Serving", quality: "Model Quality", fleet: "Fleet" }[uid.slice(6)])));
  const found = /scrape_interval: (?:(\d+)m)?(?:(\d+)s)?/.exec((await api("status/config", {})).yaml);
  if (found) scrapeSeconds = Number(found[1] ?? 0) * 60 + Number(found[2] ?? 0) || 15;
  addEventListener("hashchange", () => draw(false));
  document.getElementById("span").addEventListener("change", () => draw(true));
  await draw(false);
  setInterval(() => document.hidden || draw(true), Math.max(5, scrapeSeconds) * 1000);
}

begin().catch((error) => { document.getElementById("state").textContent = error.message; });
