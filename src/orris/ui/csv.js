// CSV (RFC 4180) to rows and back, with the server's own rules for texts without a type (orris/tables/csv_rows.py).

const MISSING = new Set(["", "NA", "N/A", "null", "NULL", "NaN", "nan"]);
const BOOLEANS = new Map([["true", true], ["True", true], ["TRUE", true], ["false", false], ["False", false], ["FALSE", false]]);
// What a spreadsheet would take for a formula, and the apostrophe that keeps it from doing so.
const FORMULA = /^[=+\-@\t\r]/;
const GUARDED = /^'(?=[=+\-@\t\r])/;
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

/** Lines of cells; quoted cells may hold commas, quotes and line breaks. Throws an Error that names the line of an open quote. */
export function parse(text, separator = ",") {
  const rows = [];
  let row = [];
  let i = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  let line = 1;
  while (i <= text.length) {
    let cell = "";
    const isQuoted = text[i] === '"';
    if (isQuoted) {
      const opened = line;
      for (i += 1; ; i += 1) {
        if (i >= text.length) throw new Error(`a quote that is opened in line ${opened} is never closed`);
        if (text[i] === '"') {
          if (text[i + 1] !== '"') break;
          i += 1;
        } else if (text[i] === "\n") line += 1;
        cell += text[i];
      }
      i += 1;
      if (i < text.length && text[i] !== separator && text[i] !== "\n" && text[i] !== "\r") throw new Error(`line ${line}: text behind a closing quote`);
    } else {
      const start = i;
      while (i < text.length && text[i] !== separator && text[i] !== "\n" && text[i] !== "\r") i += 1;
      cell = text.slice(start, i);
    }
    row.push(cell);
    if (text[i] === separator) {
      i += 1;
      continue;
    }
    if (text[i] === "\r" && text[i + 1] === "\n") i += 1;
    i += 1;
    line += 1;
    if (row.length > 1 || row[0] !== "" || isQuoted) rows.push(row);
    row = [];
  }
  return rows;
}

/** The separator of a table, from its first line: a comma, a semicolon or a tab. */
export function separatorOf(text) {
  const line = text.split("\n", 1)[0].replace(/"[^"]*"/g, "");
  return [",", ";", "\t"].reduce((best, each) => (line.split(each).length > line.split(best).length ? each : best));
}

/** One line of a table; cells are quoted where they must be, and what a spreadsheet would run as a formula gets an apostrophe before it. */
export function line(cells) {
  return `${cells.map((cell) => quoted(guarded(cell))).join(",") || '""'}\r\n`;
}

const guarded = (cell) => (FORMULA.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell);
const quoted = (cell) => (/[",;\t\n\r]/.test(cell) || cell !== cell.trim() ? `"${cell.replaceAll('"', '""')}"` : cell);

/** A cell without the apostrophe that `line` gave it. */
export const unguarded = (cell) => cell.replace(GUARDED, "");

/** What makes JSON of a column's cells. Text that does not fit stays text: the server says what is wrong with it. */
export function converter(column) {
  const present = (text) => (MISSING.has(text.trim()) ? null : text.trim());
  if (column.kind === "boolean") return (text) => BOOLEANS.get(text.trim()) ?? present(text);
  if (column.kind === "category" && typeof column.levels[0] === "string") {
    const levels = new Set(column.levels);
    return (text) => [text, unguarded(text)].find((each) => levels.has(each)) ?? present(text);
  }
  return (text) => {
    const trimmed = text.trim();
    const number = Number(trimmed);
    // Beyond 2^53 a number of JavaScript is another one than was written.
    if (!NUMBER.test(trimmed) || !Number.isFinite(number) || (column.kind !== "number" && Math.abs(number) > Number.MAX_SAFE_INTEGER)) return present(text);
    return number;
  };
}
