// Small charts of the last minutes, from /metrics. While nobody looks, nothing is asked.

import { text } from "./api.js";
import { between, samples, totals } from "./exposition.js";
import { byId, el, svg } from "./dom.js";
import { milliseconds, percent, short } from "./numbers.js";

const EVERY = 2000;
const SECOND = 500;
const KEPT = 150;
const FEWEST = 30;
const [WIDTH, HEIGHT] = [240, 56];

const CHARTS = [
  { title: "Requests a second", lines: ["requests"], say: (now) => short(now.requests, 3) },
  { title: "Rows a second", lines: ["rows"], say: (now) => short(now.rows, 3) },
  { title: "Latency, median and p99", lines: ["p99", "p50"], say: (now) => (now.p50 === null ? "–" : `${milliseconds(now.p50)} · ${milliseconds(now.p99)}`) },
  { title: "Refused or failed", lines: ["refused"], least: 0.02, say: (now) => percent(now.refused) },
];

export class Traffic {
  constructor() {
    this.history = [];
    this.last = null;
    this.timer = 0;
    this.drawn = CHARTS.map((chart) => {
      const said = el("p", { class: "chart-now numbers" }, "–");
      const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
      return { ...chart, said, drawing, node: el("div", { class: "chart" }, el("h3", {}, chart.title), said, drawing) };
    });
    byId("charts").replaceChildren(...this.drawn.map(({ node }) => node));
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.start()));
  }

  start() {
    this.pause();
    if (!document.hidden) this.#look();
  }

  pause() {
    clearTimeout(this.timer);
    // What happens in between belongs to no interval.
    this.last = null;
    this.round = {};
  }

  async #look() {
    const { round } = this;
    try {
      const found = totals(samples(await text("metrics")));
      if (round !== this.round) return;
      const at = performance.now();
      if (this.last) {
        this.history.push(between(this.last.found, found, (at - this.last.at) / 1000));
        this.history.splice(0, this.history.length - KEPT);
        this.#draw();
      }
      this.last = { found, at };
      this.#note("");
    } catch (error) {
      if (round !== this.round) return;
      this.last = null;
      this.#note(error.status === 401 ? "The metrics need a key." : `No metrics: ${error.message}`);
    }
    this.timer = setTimeout(() => this.#look(), this.history.length ? EVERY : SECOND);
  }

  #note(text_) {
    byId("live-note").dataset.tone = text_ ? "bad" : "";
    if (text_) byId("live-note").textContent = text_;
    else if (byId("live-note").textContent !== this.usual) {
      this.usual ??= "From /metrics: all models and workers, every two seconds while this page is seen.";
      byId("live-note").textContent = this.usual;
    }
  }

  #draw() {
    const now = this.history.at(-1);
    for (const { lines, least = 0, say, said, drawing } of this.drawn) {
      said.textContent = say(now);
      const top = Math.max(least, ...this.history.flatMap((each) => lines.map((line) => each[line] ?? 0))) || 1;
      drawing.replaceChildren(...lines.flatMap((line, i) => this.#line(this.history.map((each) => each[line]), top, i > 0)));
    }
  }

  /** The newest point stands at the right edge; a gap is left where there is nothing to say. */
  #line(values, top, second) {
    const x = (i) => WIDTH - 1 - ((values.length - 1 - i) * (WIDTH - 2)) / (Math.max(FEWEST, values.length) - 1);
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
    const runs = [[]];
    values.forEach((value, i) => {
      if (value === null) runs.push([]);
      else runs.at(-1).push([x(i).toFixed(1), y(value).toFixed(1)]);
    });
    return runs.filter((run) => run.length).flatMap((run) => {
      const points = run.length > 1 ? run : [[String(run[0][0] - 1.5), run[0][1]], run[0]];
      const path = points.map((point) => point.join(",")).join(" L");
      const area = second ? null : svg("path", { class: "area", d: `M${points[0][0]},${HEIGHT} L${path} L${points.at(-1)[0]},${HEIGHT} Z` });
      return [...(area ? [area] : []), svg("path", { class: second ? "line second" : "line", d: `M${path}` })];
    });
  }
}
