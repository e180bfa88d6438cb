// Starts the page: fetches the model card, and lets the form ask the model whenever a value changes.

import { ask, hasKey, urlOf, useKey } from "./api.js";
import { Answer } from "./answer.js";
import { Batch } from "./batch.js";
import { showCard, showHero, showLoaded } from "./card.js";
import { byId, debounced, el } from "./dom.js";
import { Form } from "./form.js";
import { milliseconds, plural, short } from "./numbers.js";
import { Snippets } from "./snippets.js";
import { Traffic } from "./traffic.js";

const SPOKEN = 900;
const MANY_COLUMNS = 16;
const SHOWN_EXAMPLES = 8;

const page = { card: null, path: "", form: null, answer: null, asking: false, again: false };
const snippets = new Snippets();
const batch = new Batch();
const traffic = new Traffic();
const speak = debounced(SPOKEN, (words) => {
  byId("said").textContent = words;
});

for (const link of document.querySelectorAll("a[data-path]")) link.href = urlOf(link.dataset.path);
byId("models").addEventListener("change", () => load(byId("models").value));
byId("find-text").addEventListener("input", () => page.form?.find(byId("find-text").value));
setUpKey();
start();

function start() {
  const asked = new URLSearchParams(location.search);
  const [named, version] = ["model", "version"].map((name) => encodeURIComponent(asked.get(name) ?? ""));
  return load(named ? `/api/v1/models/${named}${version ? `/versions/${version}` : ""}/card` : "/api/v1/model/card");
}

async function load(path) {
  let card;
  try {
    card = (await ask(path)).document;
  } catch (error) {
    fail(error);
    return;
  }
  page.card = card;
  page.path = path;
  byId("failure").hidden = true;
  byId("content").hidden = false;
  document.title = `${card.name} · Orris`;
  choose(card, path);
  showHero(card);
  showForm(card);
  showCard(card);
  showLoaded(card);
  batch.use(card);
  traffic.start();
  byId("foot").textContent = `Orris ${card.orris} made this model. Nothing on this page comes from, or goes to, any other server.`;
}

function fail(error) {
  byId("content").hidden = true;
  byId("name").textContent = "Orris";
  byId("badges").replaceChildren();
  byId("lead").textContent = error.status === 401 ? "This server asks for a key." : "There is no model to show.";
  if (error.status === 401) {
    openKey(hasKey() ? "This key is not taken." : "Enter a key to see the model.");
    return;
  }
  const named = new URLSearchParams(location.search).has("model");
  byId("failure").replaceChildren(error.message, named ? " " : "", named ? el("a", { href: location.pathname }, "Show the default model") : "");
  byId("failure").hidden = false;
}

/** The models and versions that can be asked. */
function choose(card, path) {
  const options = card.models.flatMap(({ name, versions, default: first }) => versions.filter(({ role }) => role !== "before").map(({ version, role }) => {
    const answers = role === "answers";
    const to = !answers ? `/api/v1/models/${name}/versions/${version}/card` : first ? "/api/v1/model/card" : `/api/v1/models/${name}/card`;
    return el("option", { value: to, selected: name === card.name && version === card.version }, `${name} ${version}`);
  }));
  byId("models").replaceChildren(...options);
  byId("chooser").hidden = options.length < 2;
  const address = new URL(location.href);
  address.search = "";
  if (path !== "/api/v1/model/card") address.searchParams.set("model", card.name);
  if (path.includes("/versions/")) address.searchParams.set("version", card.version);
  history.replaceState(null, "", address);
}

function showForm(card) {
  page.form = new Form(byId("fields"), card.columns, card.examples, predict);
  page.answer = new Answer(byId("answer"), card);
  byId("find").hidden = card.columns.length <= MANY_COLUMNS;
  byId("find-text").value = "";
  byId("ask-note").textContent = `${plural(card.columns.length, "column")}; sliders span what training saw.`;
  const examples = card.examples.slice(0, SHOWN_EXAMPLES);
  byId("examples").replaceChildren(el("span", { class: "soft", "aria-hidden": "true" }, "Start from"), ...examples.map((example, i) => {
    const said = example.answer === null ? "example" : typeof example.answer === "number" ? short(example.answer, 4) : example.answer;
    const use = () => {
      page.form.set(example.row);
      predict();
    };
    const apart = apartFrom(example, examples, card.columns);
    const label = `Example ${i + 1}: ${said}${apart ? `, ${apart}` : ""}`;
    return el("button", { type: "button", class: "chip", "aria-label": label, on: { click: use } }, said, apart ? el("span", { class: "soft" }, ` ${apart}`) : null);
  }));
  page.form.set(card.examples[0].row);
  predict();
}

/** What tells an example from the others with its answer: the column in which it differs most from them, with its value. */
function apartFrom(example, examples, columns) {
  const alike = examples.filter((other) => other !== example && (typeof example.answer === "number" || other.answer === example.answer));
  if (!alike.length) return "";
  const distance = ({ name, range }) => {
    const value = example.row[name];
    const others = alike.map((other) => other.row[name]);
    if (typeof value !== "number" || !range) return others.every((other) => other !== value) ? 1 : 0;
    const spread = range[1] - range[0] || 1;
    return Math.min(...others.map((other) => (typeof other === "number" ? Math.abs(other - value) / spread : 1)));
  };
  const [column] = columns.map((each) => [each, distance(each)]).reduce((best, each) => (each[1] > best[1] ? each : best));
  const value = example.row[column.name];
  return `${column.name} ${value === null || value === undefined ? "missing" : typeof value === "number" ? short(value, 4) : value}`;
}

/** Asks the model, one question at a time: what changes meanwhile is asked next, so that answers keep up with a slider that moves. */
async function predict() {
  const { card, form } = page;
  snippets.show(card.predict, form.row(), hasKey());
  page.again = page.asking;
  if (page.asking) return;
  page.asking = true;
  const row = form.row();
  try {
    const answered = await ask(card.predict, { body: JSON.stringify(row) });
    if (page.card === card) tell(answered, row);
  } catch (error) {
    if (page.card === card) refuse(error);
  }
  page.asking = false;
  if (page.again) predict();
}

function tell({ document: answered, spent, inServer }, row) {
  const { card, form, answer } = page;
  const warnings = answered.warnings ?? [];
  const notes = form.tell([], warnings);
  const unusual = warnings.map(({ column }) => column).filter((column) => row[column] !== null && row[column] !== undefined);
  if (unusual.length) notes.unshift(`Unusual: ${unusual.join(", ")}. The answer may be a guess.`);
  if (answered.model_version !== card.version) notes.push(`Version ${answered.model_version} answered; this page shows ${card.version}. Reload the page to see the other.`);
  speak([answer.show(answered, notes), ...notes].join(". "));
  byId("time").textContent = `${milliseconds(spent)}${inServer ? `, ${milliseconds(inServer)} in the server` : ""}`;
}

function refuse(error) {
  const { form, answer } = page;
  if (error.status === 401) openKey(hasKey() ? "This key is not taken." : "Predictions need a key.");
  const errors = error.problem?.errors ?? [];
  const notes = form.tell(errors, []);
  if (errors.length) notes.unshift(`Refused: ${plural(errors.length, "value")} to correct${listed(errors)}.`);
  else notes.push(error.retryAfter ? `${error.message} Try again in ${error.retryAfter} s.` : error.message);
  answer.refuse(notes);
  byId("time").textContent = "";
  speak([...notes, ...errors.map(({ column, problem }) => `${column}: ${problem}`)].join(". "));
}

function listed(errors) {
  const columns = [...new Set(errors.map(({ column }) => column).filter(Boolean))];
  return columns.length ? `: ${columns.join(", ")}` : "";
}

// the key

function setUpKey() {
  const use = () => {
    useKey(byId("key").value);
    byId("key").value = "";
    byId("key-note").textContent = hasKey() ? "In use until you leave this page." : "No key is used.";
    byId("key-button").classList.toggle("on", hasKey());
    byId("key-button").textContent = hasKey() ? "Key in use" : "Key";
    const before = page.card;
    (before ? load(page.path) : start()).then(() => {
      if (page.card && page.card !== before) closeKey();
    });
  };
  byId("key-use").addEventListener("click", use);
  byId("key").addEventListener("keydown", (event) => {
    if (event.key === "Enter") use();
    if (event.key === "Escape") closeKey();
  });
  byId("key-button").addEventListener("click", () => (byId("key-panel").hidden ? openKey("") : closeKey()));
}

function openKey(note) {
  byId("key-panel").hidden = false;
  byId("key-button").setAttribute("aria-expanded", "true");
  if (note) byId("key-note").textContent = note;
  byId("key").focus();
}

function closeKey() {
  byId("key-panel").hidden = true;
  byId("key-button").setAttribute("aria-expanded", "false");
}
