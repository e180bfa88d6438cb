// The model card: what the model is, how good it was found to be, and the proof that the served model is the trained one.

import { picture, saveFrom, hasKey, urlOf } from "./api.js";
import { byId, el, named } from "./dom.js";
import { count, day, duration, metricName, plural, short } from "./numbers.js";

const MAX_MATRIX = 12;
const MAX_IMPORTANCES = 15;

const PLOTS = {
  confusion_matrix: ["Confusion matrix", "True classes by predicted classes; right answers lie on the diagonal."],
  roc: ["ROC curve", "The nearer to the upper left corner, the better; the dashed line is guessing."],
  precision_recall: ["Precision and recall", "The nearer to the upper right corner, the better."],
  calibration: ["Calibration", "On the dashed line, probabilities mean what they say."],
  predicted_actual: ["Predicted and true values", "On the dashed line, predictions are right."],
  residuals: ["Residuals", "A shapeless cloud around zero is good."],
  thresholds: ["Other thresholds", "Precision, recall and F1 if a row were positive from another probability than 0.5."],
  class_balance: ["Class balance", "Rows of each class."],
  learning_curve: ["Learning curve", "Where the curve of held-out rows still rises, more rows would help."],
  importance: ["Importance of columns", "What the score loses when a column’s values are shuffled."],
};

const SERVED = {
  exact: "compiled to ONNX by exact converters",
  "skl2onnx-float64": "compiled to ONNX in double precision",
  "skl2onnx-float32": "compiled to ONNX in single precision",
  "partly-compiled": "first steps by scikit-learn, the rest compiled to ONNX",
  "library-file": "served by the library that trained it",
  "scikit-learn": "served by scikit-learn itself",
};

const held = (verdict) => verdict.n_label_differences === undefined || (verdict.n_label_differences === 0 && verdict.largest_difference <= verdict.tolerance);

/** The sentence and the badges under the name. */
export function showHero(card) {
  byId("name").replaceChildren(card.name, " ", el("span", { class: "version" }, card.version));
  const what = card.task === "regression" ? `Predicts ${card.target}, a number,` : `Predicts ${card.target} (${listed(card.text_labels)})`;
  const { table, n_rows: rows } = card.provenance;
  byId("lead").textContent = `${what} from ${plural(card.columns.length, "column")}. Trained on ${table ? `${table}, ` : ""}${plural(rows, "row")}, ${day(card.created)}.`;
  const [name, value] = headline(card);
  const { verdict } = card;
  byId("badges").replaceChildren(
    ...(name ? [el("li", {}, el("b", {}, short(value, 3)), ` ${metricName(name)}${onTrainingRows(card) ? " on the rows it was packaged with" : ""}${baseline(card, name)}`)] : []),
    el("li", { class: held(verdict) ? "good" : "bad" }, el("b", {}, held(verdict) ? (verdict.proof ? "Parity proved" : "Parity compared") : "Parity failed"), ` on ${verdict.proof ? "every row, compared on " : ""}${plural(verdict.n_rows, "row")}`),
    el("li", {}, el("b", {}, duration(verdict.one_row_microseconds)), " a row, ", SERVED[verdict.strategy] ?? verdict.strategy),
  );
}

/** Whether the metrics were measured on the rows that a fitted model was packaged with. */
const onTrainingRows = (card) => card.evaluation?.rows?.train === 0;

/** The same metric of an answer that looks at no column, in brackets. */
function baseline(card, name) {
  const value = card.evaluation?.baseline?.[name];
  return value === undefined ? "" : ` (baseline ${short(value, 3)})`;
}

function listed(labels) {
  return labels.length > 4 ? `${labels.slice(0, 3).join(", ")} and ${labels.length - 3} others` : labels.join(", ");
}

function headline(card) {
  const name = card.task === "regression" ? "r2" : "accuracy";
  return name in card.metrics ? [name, card.metrics[name]] : (Object.entries(card.metrics)[0] ?? []);
}

export function showCard(card) {
  const { evaluation } = card;
  const matrix = evaluation?.confusion_matrix?.labels.length <= MAX_MATRIX ? evaluation.confusion_matrix : null;
  const importance = Object.keys(evaluation?.importance ?? {}).length <= MAX_IMPORTANCES ? evaluation?.importance : null;
  const drawn = { confusion_matrix: matrix, importance: importance && Object.keys(importance).length ? importance : null };
  const figures = card.plots.filter(({ name }) => !drawn[name]).map(({ name, path }) => figure(card, name, path));
  byId("card-body").replaceChildren(
    el("div", { class: "card-grid" },
      el("div", {}, facts(card)),
      el("div", {}, parity(card)),
      el("div", {}, metrics(card)),
      el("div", {}, drawn.confusion_matrix ? confusion(card, matrix) : null, drawn.importance ? importances(card, importance) : null)),
    ...(evaluation?.notes?.length ? [el("ul", { class: "answer-notes" }, evaluation.notes.map((note) => el("li", { class: "warn" }, String(note))))] : []),
    figures.length ? el("div", { class: "plots" }, figures) : "",
  );
  byId("report").replaceChildren(...(card.report ? [report(card)] : []));
}

function report(card) {
  const name = `${card.name}-${card.version}-report.html`;
  if (!hasKey()) return el("a", { href: urlOf(card.report) }, "Full report");
  return el("button", { type: "button", class: "quiet", on: { click: () => saveFrom(card.report, name).catch(() => {}) } }, "Download the report");
}

const titled = (text, ...children) => [el("h3", {}, text), ...children];

function pairs(rows) {
  return el("dl", {}, rows.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

const code = (text) => el("code", {}, text);

function facts(card) {
  const { provenance } = card;
  const { parameters = {} } = provenance;
  return titled("What it is", pairs([
    ["task", card.task],
    ["target", card.target],
    ["columns", listed(card.columns.map((column) => column.name))],
    ["model", parameters.pipeline ?? parameters.model],
    ["trained", day(card.created)],
    ["on", `${provenance.table ? `${provenance.table}, ` : ""}${plural(provenance.n_rows, "row")}`],
    ["data", code(`sha256 ${provenance.data_digest.slice(0, 12)}…`)],
    ["commit", provenance.git_commit ? code(provenance.git_commit.replace(/^(.{10})[0-9a-f]*/, "$1")) : null],
    ["with", [...(provenance.libraries?.["scikit-learn"] ? [`scikit-learn ${provenance.libraries["scikit-learn"]}`] : []), `Python ${provenance.python}`].join(", ")],
    ["digest", code(`${card.digest.slice(0, 12)}…`)],
  ]));
}

/** What was matched between the file and the trained pipeline, or why nothing was. */
function proved(verdict) {
  const { proof } = verdict;
  if (!proof) return verdict.unproved ? `no, compared only: ${verdict.unproved}` : "no, compared only";
  const trees = proof.n_trees ? `${plural(proof.n_trees, "tree")} with ${plural(proof.n_splits, "split")}, ` : "";
  const matched = `${trees}${plural(proof.n_operators, "operator")}, ${plural(proof.n_constants, "constant")} matched`;
  return proof.equality === "bits" ? `the same bits for every row: ${matched}` : `the same formula for every row, up to rounding: ${matched}`;
}

function parity(card) {
  const { verdict } = card;
  const times = verdict.one_row_microseconds_reference / Math.max(verdict.one_row_microseconds, 1e-9);
  const origins = Object.entries(verdict.rows_by_origin).map(([origin, n]) => `${count(n)} ${origin}`).join(", ");
  return titled("Parity: is the served model the trained one?",
    el("p", { class: `verdict ${held(verdict) ? "good" : "bad"}` }, held(verdict) ? "Yes. Both answered the same rows alike before this version could be published." : "No. Do not rely on the metrics below."),
    pairs([
      ["proved", proved(verdict)],
      ["rows compared", el("span", {}, count(verdict.n_rows), el("span", { class: "soft small block" }, origins))],
      ["labels that differ", card.task === "classification" ? count(verdict.n_label_differences) : null],
      ["largest difference", `${short(verdict.largest_difference, 3)} (allowed: ${short(verdict.tolerance, 3)})`],
      ["way of serving", SERVED[verdict.strategy] ?? verdict.strategy],
      ["one row", `${duration(verdict.one_row_microseconds)}; in scikit-learn ${duration(verdict.one_row_microseconds_reference)} (${times >= 10 ? count(times) : short(times, 2)} times)`],
      ["golden rows", `${card.golden_rows}, reproduced when this process loaded the model`],
      ...(verdict.attempts ?? []).map((refused) => [`not served by ${refused.strategy}`, el("span", {}, refused.reason,
        refused.remedy ? el("span", { class: "soft small block" }, `To change that, ${refused.remedy}.`) : null)]),
    ]));
}

function metrics(card) {
  const names = Object.keys(card.metrics).filter((name) => !name.startsWith("cv_"));
  const folds = names.some((name) => `cv_${name}_mean` in card.metrics);
  const bases = Object.keys(card.evaluation?.baseline ?? {}).length ? card.evaluation.baseline : null;
  const rows = names.map((name) => {
    const [mean, spread] = [card.metrics[`cv_${name}_mean`], card.metrics[`cv_${name}_std`]];
    const crossed = mean === undefined ? "–" : [short(mean, 3), el("span", { class: "small block" }, `± ${short(spread, 2)}`)];
    const base = bases ? el("td", { class: "n soft" }, short(bases[name], 4)) : null;
    return el("tr", {}, el("th", { scope: "row" }, metricName(name)), el("td", { class: "n" }, short(card.metrics[name], 4)), base, folds ? el("td", { class: "n soft" }, crossed) : null);
  });
  const evaluated = card.evaluation?.rows?.evaluated;
  const n = card.evaluation?.folds;
  const heads = el("tr", {}, el("th", { scope: "col" }, "metric"), el("th", { scope: "col", class: "n" }, `${evaluated ? `${count(evaluated)} rows` : ""} ${onTrainingRows(card) ? "given" : "held out"}`.trim()),
    bases ? el("th", { scope: "col", class: "n", title: card.task === "regression" ? "always the mean" : "always the most frequent class" }, "baseline") : null,
    folds ? el("th", { scope: "col", class: "n" }, n ? `${n} folds` : "cross-validated") : null);
  return titled("How good it is", el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Metrics" }, el("table", { class: "metrics" }, el("thead", {}, heads), el("tbody", {}, rows))));
}

/** A confusion matrix: hits on the diagonal in one colour, errors in another, shaded by their share of the true class. */
export function confusion(card, { labels, counts }) {
  const names = labels.map(String);
  const rows = counts.map((row, i) => {
    const all = row.reduce((sum, n) => sum + n, 0);
    return el("tr", {}, el("th", { scope: "row" }, names[i]), row.map((n, j) => {
      const share = all ? n / all : 0;
      const tint = share > 0.5 ? "strong" : share ? "tinted" : "";
      const cell = el("td", { class: `${tint} ${i === j ? "hit" : "miss"}`.trim(), title: `${names[i]} taken for ${names[j]}: ${n} of ${all}` }, count(n));
      cell.style.setProperty("--share", `${Math.round(share * 100)}%`);
      return cell;
    }));
  });
  return titled("Confusion matrix", el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" },
    el("table", { class: "matrix" }, el("thead", {}, el("tr", {}, el("td", {}), names.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows))),
  el("p", { class: "soft small" }, `Rows: true ${card.target}. Columns: predicted.`));
}

function importances(card, importance) {
  const ranked = Object.entries(importance).sort(([, a], [, b]) => b.mean - a.mean);
  const top = Math.max(...ranked.map(([, { mean }]) => mean), 1e-12);
  const items = ranked.map(([name, { mean }]) => {
    const fill = el("span", { class: "fill" });
    fill.style.width = `${Math.max(0, (100 * mean) / top)}%`;
    return el("li", {}, el("span", { class: "bar-name" }, named(name)), el("span", { class: "track" }, fill), el("span", { class: "bar-share" }, short(mean, 2)));
  });
  return titled("What it looks at", el("ul", { class: "bars" }, items),
    el("p", { class: "soft small" }, `${card.task === "regression" ? "R²" : "Accuracy"} lost when a column’s values are shuffled.`));
}

function figure(card, name, path) {
  const [title, meaning] = PLOTS[name];
  const image = el("img", { alt: `${title} of ${card.name} ${card.version}`, loading: "lazy" });
  picture(path).then((source) => {
    image.src = source;
  }, () => image.remove());
  return el("figure", {}, el("h3", {}, title), image, el("figcaption", {}, meaning));
}

export function showLoaded(card) {
  const roles = { answers: "answers", beside: "answers when asked by version", before: "kept for a rollback" };
  const rows = card.models.flatMap((model) => model.versions.map((version) => {
    const shown = model.name === card.name && version.version === card.version;
    const role = model.split && version.role !== "before" ? "shares the traffic" : roles[version.role];
    return el("tr", {}, el("th", { scope: "row" }, model.name, model.default ? el("span", { class: "tag" }, "default") : null), el("td", { class: "n" }, version.version),
      el("td", {}, role, shown ? el("span", { class: "tag" }, "shown here") : null), el("td", {}, day(version.created)), el("td", {}, code(model.reference)));
  }));
  const heads = ["model", "version", "role", "made", "follows"].map((text, i) => el("th", { scope: "col", class: i === 1 ? "n" : null }, text));
  byId("loaded-body").replaceChildren(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Models and versions" },
    el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))));
}
