// How numbers and names are written for people.

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const grouped = new Intl.NumberFormat("en", { maximumSignificantDigits: 15 });

/** Up to `digits` significant digits, thousands set apart, without an exponent where that stays readable. */
export function short(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(Math.max(0, digits - 2)).replace("e+", "e");
  const rounded = Number(value.toPrecision(Math.max(digits, size >= 1 ? Math.floor(Math.log10(size)) + 1 : 1)));
  return size >= 1e4 ? grouped.format(rounded) : String(rounded);
}

export const count = (value) => plain.format(value);

/** A probability as a percentage that never claims certainty: 0 and 100 only where they are exact. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1 %";
  if (share < 1 && share > 0.9995) return ">99.9 %";
  return `${(share * 100).toFixed(1)} %`;
}

export function milliseconds(value) {
  return value < 1 ? `${short(value, 2)} ms` : `${short(value, 3)} ms`;
}

/** A duration that is given in microseconds, with three significant digits in the unit that suits it. */
export function duration(microseconds) {
  const [size, unit] = microseconds < 999.5 ? [1, "µs"] : microseconds < 999_500 ? [1e3, "ms"] : [1e6, "s"];
  return `${short(microseconds / size, 3)} ${unit}`;
}

export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** A date of the manifest, in the reader's words. */
export function day(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return date.toLocaleString("en-GB", { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" }) + " UTC";
}

const METRICS = {
  r2: "R²", rmse: "RMSE", mae: "mean absolute error", mape: "mean relative error", roc_auc: "ROC area", brier: "Brier score",
  f1: "F1", f1_macro: "F1 (macro)", f1_weighted: "F1 (weighted)", precision_macro: "precision (macro)", recall_macro: "recall (macro)",
};

export const metricName = (name) => METRICS[name] ?? name.replaceAll("_", " ");

/** The number of decimals that a column's values usually have, from examples of them. */
export function usualDecimals(values) {
  const decimals = values.map((value) => (String(value).split(".")[1] ?? "").length).filter((n) => n <= 6).sort((a, b) => a - b);
  return decimals.length ? decimals[Math.floor((decimals.length - 1) / 2)] : 2;
}
