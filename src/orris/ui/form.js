// A form made from the model's schema. A field reads to the JSON value that goes to the server, which alone judges it.

import { el, named } from "./dom.js";
import { short, usualDecimals } from "./numbers.js";

const MAX_OPTIONS = 12;
const OTHER = "other";
const MISSING = "missing";

/** What leaves a column out of the row. */
export const ABSENT = Symbol("absent");

export class Form {
  /** `changed` is called whenever a value changes, whoever changed it. */
  constructor(container, columns, examples, changed) {
    this.fields = new Map();
    columns.forEach((column, i) => {
      const field = fieldOf(column, `field-${i}`, examples.map((example) => example.row[column.name]), changed);
      this.fields.set(column.name, field);
    });
    container.replaceChildren(...[...this.fields.values()].map((field) => field.node));
  }

  /** The row as it goes to the server. */
  row() {
    const row = {};
    for (const [name, field] of this.fields) {
      const value = field.read();
      if (value !== ABSENT) row[name] = value;
    }
    return row;
  }

  set(row) {
    for (const [name, field] of this.fields) if (name in row) field.write(row[name]);
  }

  /** Shows each problem at its field; returns those that belong to none. */
  tell(errors, warnings) {
    const left = [];
    for (const field of this.fields.values()) field.tell("", "");
    for (const [tone, problems] of [["warn", warnings], ["bad", errors]]) {
      for (const { column, problem } of problems) {
        const field = this.fields.get(column);
        if (field) field.tell(tone, problem);
        else left.push(column ? `${column}: ${problem}` : problem);
      }
    }
    return left;
  }

  /** Shows only the columns whose name holds the text. */
  find(text) {
    const wanted = text.trim().toLowerCase();
    for (const [name, field] of this.fields) field.node.hidden = !name.toLowerCase().includes(wanted);
  }
}

function fieldOf(column, id, values, changed) {
  const note = el("p", { class: "note", id: `${id}-note` });
  const make = { number: numberField, integer: numberField, boolean: booleanField, category: categoryField }[column.kind];
  const control = make(column, id, values.filter((value) => value !== null && value !== undefined), changed);
  const absent = column.missing && column.kind !== "category" ? missingBox(column, id, control, changed) : null;
  const title = el("label", { for: id, class: "column" }, named(column.name));
  const bounds = boundsText(column.bounds);
  if (bounds) title.append(el("span", { class: "bounds" }, bounds));
  const node = el("div", { class: `field ${column.kind}`, "data-column": column.name },
    el("div", { class: "field-head" }, el("div", { class: "field-name" }, title, absent?.node), control.main), control.below, note);
  for (const input of control.inputs) input.setAttribute("aria-describedby", note.id);
  return {
    node,
    read: () => (absent?.box.checked ? null : control.read()),
    write(value) {
      if (absent) absent.set(value === null);
      if (value !== null || !absent) control.write(value);
    },
    tell(tone, text) {
      note.textContent = text;
      node.dataset.tone = tone;
      for (const input of control.inputs) {
        if (tone === "bad") input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
    },
  };
}

function boundsText(bounds) {
  const words = { minimum: "≥", maximum: "≤", exclusive_minimum: ">", exclusive_maximum: "<" };
  return Object.entries(bounds ?? {}).filter(([name, value]) => name in words && value !== null).map(([name, value]) => `${words[name]} ${short(value)}`).join(", ");
}

function missingBox(column, id, control, changed) {
  const box = el("input", { type: "checkbox", id: `${id}-missing`, "aria-label": `${column.name} is missing` });
  const set = (on) => {
    box.checked = on;
    for (const input of control.inputs) input.disabled = on;
  };
  box.addEventListener("change", () => {
    set(box.checked);
    changed();
  });
  return { box, set, node: el("label", { class: "missing" }, box, "missing") };
}

// numbers

function numberField(column, id, values, changed) {
  const [low, high] = column.range ?? [0, 1];
  const span = high - low;
  const decimals = column.kind === "integer" ? 0 : decimalsFor(values, span);
  const step = 10 ** -decimals;
  const whole = column.kind === "integer" && !column.fractions;
  const input = el("input", { type: "number", id, step: column.fractions ? "any" : step, inputmode: whole ? "numeric" : "decimal", autocomplete: "off" });
  const slider = el("input", { type: "range", min: low, max: high, step, "aria-label": `${column.name}, slider over the training range` });
  const slide = () => {
    const value = input.value === "" ? low : Number(input.value);
    slider.value = value;
    slider.style.setProperty("--at", `${span > 0 ? Math.min(100, Math.max(0, (100 * (value - low)) / span)) : 0}%`);
  };
  input.addEventListener("input", () => {
    slide();
    changed();
  });
  slider.addEventListener("input", () => {
    const value = Number(slider.value);
    // The ends are reachable as they are, whatever the step.
    input.value = value <= low ? low : value + step > high + step / 1e6 ? high : Math.min(high, Number(value.toFixed(decimals)));
    slide();
    changed();
  });
  const sliding = column.range && span > 0;
  const ends = el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, short(low)), el("span", {}, short(high)));
  return {
    main: input,
    below: sliding ? el("div", { class: "slide" }, slider, ends) : null,
    inputs: sliding ? [input, slider] : [input],
    read: () => (input.validity.badInput ? "not a number" : input.value === "" ? ABSENT : Number(input.value)),
    write(value) {
      input.value = value;
      slide();
    },
  };
}

function decimalsFor(values, span) {
  const finest = span > 0 ? Math.ceil(-Math.log10(span / 1000)) : 2;
  const coarsest = span > 0 ? Math.ceil(-Math.log10(span)) : 0;
  return Math.min(12, Math.max(0, coarsest, Math.min(usualDecimals(values), finest)));
}

// booleans

function booleanField(column, id, _values, changed) {
  const input = el("input", { type: "checkbox", id, class: "switch" });
  const said = el("span", { class: "said", "aria-hidden": "true" });
  const say = () => {
    said.textContent = input.checked ? "true" : "false";
  };
  input.addEventListener("change", () => {
    say();
    changed();
  });
  say();
  return {
    main: el("span", { class: "boolean-main" }, said, input),
    below: null,
    inputs: [input],
    read: () => input.checked,
    write(value) {
      input.checked = value === true;
      say();
    },
  };
}

// categories

function categoryField(column, id, _values, changed) {
  return column.levels.length > MAX_OPTIONS ? typedLevel(column, id, changed) : chosenLevel(column, id, changed);
}

/** Text as a level of the column: a number where the levels are numbers. */
function levelOf(column, text) {
  return typeof column.levels[0] === "number" && /^[+-]?(\d+\.?\d*|\.\d+)$/.test(text.trim()) ? Number(text) : text;
}

function chosenLevel(column, id, changed) {
  const options = column.levels.map((level, i) => el("option", { value: i }, String(level)));
  if (column.missing) options.push(el("option", { value: MISSING }, "— missing —"));
  if (column.unseen) options.push(el("option", { value: OTHER }, "other …"));
  const select = el("select", { id }, options);
  const other = el("input", { type: "text", class: "other", hidden: true, "aria-label": `${column.name}: another level`, autocomplete: "off", spellcheck: "false" });
  const show = () => {
    other.hidden = select.value !== OTHER;
  };
  select.addEventListener("change", () => {
    show();
    if (!other.hidden) other.focus();
    changed();
  });
  other.addEventListener("input", changed);
  return {
    main: select,
    below: column.unseen ? other : null,
    inputs: column.unseen ? [select, other] : [select],
    read() {
      if (select.value === MISSING) return null;
      return select.value === OTHER ? levelOf(column, other.value) : column.levels[Number(select.value)];
    },
    write(value) {
      const at = column.levels.indexOf(value);
      select.value = value === null ? MISSING : at >= 0 ? at : OTHER;
      if (select.value === OTHER) other.value = value;
      show();
    },
  };
}

function typedLevel(column, id, changed) {
  const levels = el("datalist", { id: `${id}-levels` }, column.levels.map((level) => el("option", { value: String(level) })));
  const placeholder = column.missing ? "missing" : `one of ${column.levels.length} levels`;
  const input = el("input", { type: "text", id, list: levels.id, placeholder, autocomplete: "off", spellcheck: "false", on: { input: changed } });
  return {
    main: input,
    below: levels,
    inputs: [input],
    read: () => (input.value !== "" ? levelOf(column, input.value) : column.missing ? null : ABSENT),
    write(value) {
      input.value = value ?? "";
    },
  };
}
