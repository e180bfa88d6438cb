// Many rows: a CSV goes to the server in parts; rows that are refused are told apart, and the rest is answered.

import { ask, save } from "./api.js";
import { confusion } from "./card.js";
import { converter, line, parse, separatorOf, unguarded } from "./csv.js";
import { byId, el } from "./dom.js";
import { count, percent, plural, short } from "./numbers.js";

const PART = 500;
const MAX_ROWS = 100_000;
const MAX_BYTES = 32 * 1024 * 1024;
const SHOWN = 20;
const SHOWN_ERRORS = 50;
const ATTEMPTS = 5;
const MAX_MATRIX = 12;

export class Batch {
  constructor() {
    this.card = null;
    this.running = null;
    this.file = "";
    byId("predict").addEventListener("click", () => this.#start(byId("csv").value));
    byId("choose").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", () => this.#take(byId("file").files[0]));
    byId("fill").addEventListener("click", () => this.#fill());
    byId("sample").addEventListener("click", () => save(`${this.card.name}-sample.csv`, "text/csv;charset=utf-8", this.#sample()));
    byId("stop").addEventListener("click", () => this.running?.abort());
    byId("download").addEventListener("click", () => this.#download());
    byId("csv").addEventListener("input", () => {
      this.file = "";
    });
    this.#dropping(byId("batch"));
  }

  /** Another model: what was answered by the last one goes. */
  use(card) {
    this.card = card;
    this.running?.abort();
    this.running = null;
    byId("progress").hidden = byId("stop").hidden = true;
    this.answers = null;
    byId("batch-result").replaceChildren();
    byId("download").hidden = true;
    byId("batch-said").textContent = "";
    byId("csv").placeholder = `${card.columns.map((column) => column.name).join(",")}\n…`;
  }

  #dropping(zone) {
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) zone.classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      zone.classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.#take(event.dataTransfer.files[0]);
    });
  }

  async #take(file) {
    byId("file").value = "";
    if (!file) return;
    if (file.size > MAX_BYTES) return this.#say(`${file.name} is larger than ${MAX_BYTES / 1024 / 1024} MB; use the API for it.`, "bad");
    const text = await file.text();
    this.file = file.name;
    byId("csv").value = text.length > 20_000 ? "" : text;
    byId("batch").scrollIntoView({ block: "nearest" });
    await this.#start(text);
  }

  #fill() {
    this.file = "";
    byId("csv").value = this.#sample().replaceAll("\r", "");
    byId("csv").focus();
  }

  /** The example rows as CSV. */
  #sample() {
    const names = this.card.columns.map((column) => column.name);
    const cells = (row) => names.map((name) => (row[name] === null || row[name] === undefined ? "" : String(row[name])));
    return line(names) + this.card.examples.map((example) => line(cells(example.row))).join("");
  }

  #say(text, tone = "") {
    byId("batch-said").textContent = text;
    byId("batch-said").dataset.tone = tone;
  }

  /** The column that a cell of the first line names: as it stands, or without what surrounds it. */
  #columnName(text) {
    const names = new Set(this.card.columns.map((column) => column.name));
    return [text, text.trim(), unguarded(text), unguarded(text.trim())].find((each) => names.has(each)) ?? text.trim();
  }

  /** What the CSV holds, by column name; throws an Error that says what is wrong with it. */
  #read(text) {
    if (!text.trim()) throw new Error("Nothing to predict yet: paste CSV, or choose a file.");
    if (text.includes("\ufffd")) throw new Error("This is not UTF-8: save it as “CSV UTF-8” first.");
    const lines = parse(text, separatorOf(text));
    const head = lines[0].map((name) => this.#columnName(name));
    const known = new Set(this.card.columns.map((column) => column.name));
    const twice = head.find((name, i) => known.has(name) && head.indexOf(name) !== i);
    if (twice) throw new Error(`The column “${twice}” is there twice.`);
    if (lines.length === 1) throw new Error("There is a line of column names, but no row.");
    if (lines.length - 1 > MAX_ROWS) throw new Error(`These are ${count(lines.length - 1)} rows; ${count(MAX_ROWS)} is the most that this page takes. Use the API.`);
    const columns = this.card.columns.map((column) => ({ name: column.name, at: head.indexOf(column.name), convert: converter(column), missing: column.missing }));
    const lacking = columns.filter((column) => column.at < 0 && !column.missing).map((column) => column.name);
    const truth = known.has(this.card.target) ? -1 : head.indexOf(this.card.target);
    const unused = head.filter((name, i) => name && !known.has(name) && i !== truth);
    const isAbsent = columns.some((column) => column.at < 0);
    if (lacking.length && !unused.length) throw new Error(`The first line lacks ${lacking.length > 1 ? "columns" : "the column"} ${lacking.join(", ")}.`);
    const rows = lines.slice(1).map((cells) => {
      if (cells.length !== head.length) return { error: `${head.length} values are needed, one for each column name, not ${cells.length}` };
      return { row: Object.fromEntries(columns.filter(({ at }) => at >= 0).map(({ name, at, convert }) => [name, convert(cells[at])])) };
    });
    return { head, lines: lines.slice(1), rows, unused, truth, doubtful: isAbsent ? unused : [] };
  }

  /** Asks the server whether names that no column has, beside an absent column, are misspelt: throws an Error with its words if they are. */
  async #checkNames(table, signal) {
    const first = table.rows.find((row) => row.row);
    if (!table.doubtful.length || !first) return;
    const row = { ...first.row, ...Object.fromEntries(table.doubtful.map((name) => [name, null])) };
    try {
      await ask(this.card.predict, { body: JSON.stringify([row]), signal });
    } catch (error) {
      const absent = (column) => this.card.columns.some(({ name }) => name === column) && !(column in first.row);
      const wrong = (error.problem?.errors ?? []).filter(({ column }) => table.doubtful.includes(column) || absent(column));
      if (error.status === 422 && wrong.length) throw new Error(wrong.map(({ column, problem }) => `${column}: ${problem}.`).join(" "));
    }
  }

  async #start(text) {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    byId("batch-result").replaceChildren();
    byId("download").hidden = true;
    let table;
    try {
      table = this.#read(text);
      await this.#checkNames(table, running.signal);
    } catch (error) {
      return this.running === running ? this.#say(error.message, "bad") : undefined;
    }
    if (this.running !== running) return;
    byId("progress").hidden = byId("stop").hidden = false;
    this.#say(`Predicting ${plural(table.rows.length, "row")} …`);
    const answers = table.rows.map((row) => (row.error ? { error: row.error } : null));
    const start = performance.now();
    let stopped = "";
    try {
      const part = Math.min(PART, this.card.max_rows);
      for (let from = 0; from < table.rows.length; from += part) {
        await this.#part(table.rows, answers, from, Math.min(from + part, table.rows.length), running.signal);
        byId("progress").value = Math.min(1, (from + part) / table.rows.length);
      }
    } catch (error) {
      stopped = error.name === "AbortError" ? "Stopped." : error.message;
    }
    if (this.running !== running) return;
    byId("progress").hidden = byId("stop").hidden = true;
    byId("progress").value = 0;
    this.answers = { ...table, answers };
    this.#report(table, answers, performance.now() - start, stopped);
  }

  /** Answers rows `from` to `to`; whoever is refused is taken out, and the rest is asked again. */
  async #part(rows, answers, from, to, signal) {
    let open = [];
    for (let i = from; i < to; i += 1) if (!answers[i]) open.push(i);
    for (let attempt = 0; open.length; ) {
      try {
        const { document } = await ask(this.card.predict, { body: JSON.stringify(open.map((i) => rows[i].row)), signal });
        document.predictions.forEach((answer, at) => {
          answers[open[at]] = { ...answer, warnings: [] };
        });
        for (const { row, column, problem } of document.warnings ?? []) answers[open[row]].warnings.push(`${column}: ${problem}`);
        return;
      } catch (error) {
        if ((error.status === 429 || error.status === 503) && attempt < ATTEMPTS) {
          attempt += 1;
          await pause((error.retryAfter || 1) * 1000, signal);
          continue;
        }
        if (error.status === 413 && to - from > 1) {
          const middle = from + Math.ceil((to - from) / 2);
          await this.#part(rows, answers, from, middle, signal);
          return this.#part(rows, answers, middle, to, signal);
        }
        const wrong = (error.status === 422 && error.problem.errors) || [];
        if (!wrong.some(({ row }) => row !== null)) throw error;
        for (const { row, column, problem } of wrong) {
          if (row === null) continue;
          const told = column ? `${column}: ${problem}` : problem;
          const before = answers[open[row]]?.error;
          answers[open[row]] = { error: before ? `${before}; ${told}` : told };
        }
        open = open.filter((i) => !answers[i]);
      }
    }
  }

  #report(table, answers, spent, stopped) {
    const answered = answers.filter((answer) => answer && !answer.error).length;
    const refused = answers.filter((answer) => answer?.error).length;
    const flagged = answers.filter((answer) => answer?.warnings?.length).length;
    const words = [stopped, `${plural(answered, "row")} answered in ${short(spent / 1000, 2)} s.`];
    if (refused) words.push(`${plural(refused, "row")} refused.`);
    if (flagged) words.push(`${plural(flagged, "row")} with warnings.`);
    if (table.unused.length) words.push(`Not used: ${table.unused.join(", ")}.`);
    this.#say(words.filter(Boolean).join(" "), stopped ? "bad" : "");
    byId("download").hidden = answered + refused === 0;
    const parts = [];
    if (refused) parts.push(this.#errors(answers));
    if (table.truth >= 0 && answered) parts.push(this.#score(table, answers));
    if (answered + refused) parts.push(this.#preview(table, answers));
    byId("batch-result").replaceChildren(...parts);
  }

  #errors(answers) {
    const wrong = answers.map((answer, i) => ({ i, error: answer?.error })).filter(({ error }) => error);
    const items = wrong.slice(0, SHOWN_ERRORS).map(({ i, error }) => el("li", {}, el("b", {}, `Row ${i + 1}`), ` ${error}`));
    if (wrong.length > SHOWN_ERRORS) items.push(el("li", { class: "soft" }, `and ${count(wrong.length - SHOWN_ERRORS)} more, in the download`));
    return el("div", { class: "scroll refused", tabindex: "0", role: "region", "aria-label": "Rows that were refused" }, el("ul", {}, items));
  }

  /** How the answers compare with the target, where the table holds it. */
  #score({ lines, truth }, answers) {
    const pairs = answers.map((answer, i) => ({ answer, cell: (lines[i][truth] ?? "").trim() })).filter(({ answer, cell }) => answer && !answer.error && cell !== "");
    const box = (...children) => el("div", { class: "score", role: "group", "aria-label": "Score" }, ...children);
    if (this.card.task === "regression") return box(...errorsOf(this.card, pairs.map(({ answer, cell }) => [Number(cell), answer.prediction])));
    const labels = this.card.text_labels;
    const known = pairs.map(({ answer, cell }) => [labelAt(labels, cell), labels.indexOf(answer.prediction_label)]).filter(([at]) => at >= 0);
    if (!known.length) return box(el("p", { class: "soft" }, `The column “${this.card.target}” holds none of this model’s classes, so there is no score.`));
    const rows = labels.map(() => 0);
    for (const [at] of known) rows[at] += 1;
    const hits = known.filter(([at, said]) => at === said).length;
    const most = Math.max(...rows);
    const others = pairs.length - known.length;
    const words = `${percent(hits / known.length)} of ${plural(known.length, "row")} as the column “${this.card.target}” says; always the most frequent class: ${percent(most / known.length)}.`;
    return box(el("p", {}, el("b", {}, "Score: "), words, others ? ` ${plural(others, "row")} with another label left out.` : ""), labels.length <= MAX_MATRIX ? confusion(this.card, { labels, counts: countsOf(known, labels.length) }) : null);
  }

  #preview({ head, lines }, answers) {
    const added = this.card.task === "regression" ? [] : [this.card.probabilities ? "probability" : null, this.card.scores ? "score" : null].filter(Boolean);
    const heads = ["row", `${this.card.target}, predicted`, ...added, ...head];
    const rows = answers.slice(0, SHOWN).map((answer, i) => {
      const said = !answer ? "–" : answer.error ? "refused" : this.card.task === "regression" ? short(answer.prediction, 5) : answer.prediction_label;
      const sure = added.map((name) => (name === "score" ? short(answer?.score, 5) : answer?.probabilities ? percent(Math.max(...answer.probabilities)) : "–"));
      const tone = answer?.error ? "bad" : answer?.warnings?.length ? "warn" : null;
      const title = answer?.error ?? (answer?.warnings?.join("; ") || null);
      return el("tr", { "data-tone": tone, title }, el("th", { scope: "row" }, String(i + 1)), el("td", { class: "said-cell" }, said), sure.map((text) => el("td", { class: "n" }, text)),
        lines[i].map((cell) => el("td", {}, cell)));
    });
    const caption = [answers.length > SHOWN ? `The first ${SHOWN} of ${count(answers.length)} rows.` : "All rows."];
    const shown = answers.slice(0, SHOWN);
    if (shown.some((answer) => answer && !answer.error && answer.warnings?.length)) caption.push(" ", el("span", { class: "key", "data-tone": "warn" }, "answered with warnings: point at the row to read them"));
    if (shown.some((answer) => answer?.error)) caption.push(" ", el("span", { class: "key", "data-tone": "bad" }, "refused"));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Answers" },
      el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col", class: added.includes(name) ? "n" : null }, name)))), el("tbody", {}, rows)));
  }

  #download() {
    const { head, lines, answers } = this.answers;
    const classes = this.card.task === "regression" ? [] : this.card.text_labels;
    const shares = this.card.probabilities ? classes.map((label) => `probability_${label}`) : [];
    const scores = this.card.scores ? ["score"] : [];
    const names = ["prediction", ...(classes.length ? ["prediction_label"] : []), ...shares, ...scores, "warnings", "error"];
    const text = [line([...head, ...names])];
    lines.forEach((cells, i) => {
      const answer = answers[i] ?? { error: "not asked" };
      const said = answer.error ? names.slice(0, -2).map(() => "") : [answer.prediction, ...(classes.length ? [answer.prediction_label] : []), ...(shares.length ? answer.probabilities : []), ...(scores.length ? [answer.score] : [])];
      const padded = head.map((_, at) => cells[at] ?? "");
      text.push(line([...padded, ...said.map(String), (answer.warnings ?? []).join("; "), answer.error ?? ""]));
    });
    save(`${(this.file || "rows").replace(/\.\w+$/, "")}-${this.card.name}-${this.card.version}.csv`, "text/csv;charset=utf-8", text.join(""));
  }
}

/** A row for each true class, a column for each answer, from pairs of positions. */
function countsOf(pairs, n) {
  const counts = Array.from({ length: n }, () => Array(n).fill(0));
  for (const [at, said] of pairs) counts[at][said] += 1;
  return counts;
}

/** The position of a label, as a table would write it. */
function labelAt(labels, cell) {
  const exact = labels.indexOf(cell);
  if (exact >= 0) return exact;
  const number = Number(cell);
  return cell !== "" && !Number.isNaN(number) ? labels.findIndex((label) => label !== "" && Number(label) === number) : labels.indexOf(unguarded(cell));
}

/** The errors of a regression in words. */
function errorsOf(card, pairs) {
  const known = pairs.filter(([value]) => Number.isFinite(value));
  if (!known.length) return [el("p", { class: "soft" }, `The column “${card.target}” holds no numbers, so there is no score.`)];
  const mean = known.reduce((sum, [value]) => sum + value, 0) / known.length;
  const absolute = known.reduce((sum, [value, said]) => sum + Math.abs(value - said), 0) / known.length;
  const squared = known.reduce((sum, [value, said]) => sum + (value - said) ** 2, 0);
  const spread = known.reduce((sum, [value]) => sum + (value - mean) ** 2, 0);
  const base = known.reduce((sum, [value]) => sum + Math.abs(value - mean), 0) / known.length;
  const explained = spread > 0 ? `R² ${short(1 - squared / spread, 3)}, ` : "";
  const words = `${explained}mean absolute error ${short(absolute, 4)}, RMSE ${short(Math.sqrt(squared / known.length), 4)} on ${plural(known.length, "row")} against the column “${card.target}”; always their mean: mean absolute error ${short(base, 4)}.`;
  return [el("p", {}, el("b", {}, "Score: "), words)];
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
  });
}
