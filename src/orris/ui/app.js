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

const QUIET = 60;
const SPOKEN = 900;
const MANY_COLUMNS = 16;
const SHOWN_EXAMPLES = 8;

const page = { card: null, form: null, answer: null, asking: null };
const snippets = new Snippets();
const batch = new Batch();
const traffic = new Traffic();
const speak = debounced(SPOKEN, (words) => {
  byId("said").textContent = words;
});
const predictSoon = debounced(QUIET, predict);

for (const link of document.querySelectorAll("a[data-path]")) link.href = urlOf(link.dataset.path);
byId("models").addEventListener("change", () => load(byId("models").value));
byId("find-text").addEventListener("input", () => page.form?.find(byId("find-text").value));
setUpKey();
start();

function start() {
  const named = new URLSearchParams(location.search).get("model");
  return load(named ? `/api/v1/models/${encodeURIComponent(named)}/card` : "/api/v1/model/card");
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
  byId("failure").textContent = error.message;
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
  if (path === "/api/v1/model/card") address.searchParams.delete("model");
  else address.searchParams.set("model", card.name);
  history.replaceState(null, "", address);
}

function showForm(card) {
  page.form = new Form(byId("fields"), card.columns, card.examples, predictSoon);
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
    return el("button", { type: "button", class: "chip", "aria-label": `Example ${i + 1}: ${said}`, on: { click: use } }, said);
  }));
  page.form.set(card.examples[0].row);
  predict();
}

/** Asks the model; an answer that was overtaken by a newer question is dropped. */
async function predict() {
  const { card, form, answer } = page;
  page.asking?.abort();
  const asking = new AbortController();
  page.asking = asking;
  const row = form.row();
  snippets.show(card.predict, row, hasKey());
  try {
    const { document, spent, inServer } = await ask(card.predict, { body: JSON.stringify(row), signal: asking.signal });
    if (page.asking !== asking) return;
    const warnings = document.warnings ?? [];
    const notes = form.tell([], warnings);
    if (warnings.length) notes.unshift(`Unusual: ${warnings.map(({ column }) => column).join(", ")}. The answer may be a guess.`);
    if (document.model_version !== card.version) notes.push(`Version ${document.model_version} answered; this page shows ${card.version}.`);
    speak([answer.show(document, notes), ...notes].join(". "));
    byId("time").textContent = `${milliseconds(spent)}${inServer ? `, ${milliseconds(inServer)} in the server` : ""}`;
  } catch (error) {
    if (error.name === "AbortError" || page.asking !== asking) return;
    if (error.status === 401) openKey(hasKey() ? "This key is not taken." : "Predictions need a key.");
    const errors = error.problem?.errors ?? [];
    const notes = form.tell(errors, []);
    if (errors.length) notes.unshift(`Refused: ${plural(errors.length, "value")} to correct, ${[...new Set(errors.map(({ column }) => column).filter(Boolean))].join(", ")}.`);
    else notes.push(error.retryAfter ? `${error.message} Try again in ${error.retryAfter} s.` : error.message);
    answer.refuse(notes);
    byId("time").textContent = "";
    speak([...notes, ...errors.map(({ column, problem }) => `${column}: ${problem}`)].join(". "));
  }
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
