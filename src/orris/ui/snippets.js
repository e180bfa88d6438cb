// The request that the form makes, as one would write it elsewhere. A key is never part of the text.

import { urlOf } from "./api.js";
import { byId, el } from "./dom.js";

export const LANGUAGES = { curl, Python: python, JavaScript: javascript };

const spaced = (row) => (Object.keys(row).length ? `{${Object.entries(row).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")}}` : "{}");

function curl(url, row, keyed) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl -X POST ${quoted(url)}`, "-H 'Content-Type: application/json'"];
  if (keyed) lines.push('-H "Authorization: Bearer $API_KEY"');
  return [...lines, `-d ${quoted(spaced(row))}`].join(" \\\n  ");
}

function python(url, row, keyed) {
  const words = { true: "True", false: "False", null: "None" };
  const entries = Object.entries(row).map(([name, value]) => `    ${JSON.stringify(name)}: ${words[JSON.stringify(value)] ?? JSON.stringify(value)},\n`);
  const headers = ['"Content-Type": "application/json"'];
  if (keyed) headers.push('"Authorization": "Bearer " + os.environ["API_KEY"]');
  return `import json
${keyed ? "import os\n" : ""}import urllib.request

row = {
${entries.join("")}}
request = urllib.request.Request(
    ${JSON.stringify(url)},
    data=json.dumps(row).encode(),
    headers={${headers.join(", ")}},
)
with urllib.request.urlopen(request) as response:
    print(json.load(response))
`;
}

function javascript(url, row, keyed) {
  const entries = Object.entries(row).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
  const headers = ['"Content-Type": "application/json"'];
  if (keyed) headers.push('"Authorization": `Bearer ${process.env.API_KEY}`');
  return `const row = {
${entries.join("")}};
const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: { ${headers.join(", ")} },
  body: JSON.stringify(row),
});
console.log(await response.json());
`;
}

/** The tabs with the request in each language, and the button that copies it. */
export class Snippets {
  constructor() {
    this.language = "curl";
    this.tabs = Object.keys(LANGUAGES).map((language, i) =>
      el("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": "snippet-panel", on: { click: () => this.#choose(language) } }, language));
    byId("tabs").replaceChildren(...this.tabs);
    byId("tabs").addEventListener("keydown", (event) => this.#move(event));
    byId("copy").addEventListener("click", () => this.#copy());
    this.#choose(this.language);
  }

  show(path, row, keyed) {
    this.request = [urlOf(path), row, keyed];
    this.#draw();
  }

  #draw() {
    if (this.request) byId("snippet").textContent = LANGUAGES[this.language](...this.request);
  }

  #choose(language) {
    this.language = language;
    for (const tab of this.tabs) {
      const chosen = tab.textContent === language;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) byId("snippet-panel").setAttribute("aria-labelledby", tab.id);
    }
    this.#draw();
  }

  #move(event) {
    const at = this.tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = this.tabs[(to + this.tabs.length) % this.tabs.length];
    this.#choose(tab.textContent);
    tab.focus();
  }

  async #copy() {
    const button = byId("copy");
    try {
      await navigator.clipboard.writeText(byId("snippet").textContent);
      button.textContent = "Copied";
    } catch {
      // Without TLS a browser has no clipboard for pages: mark the text, so that Ctrl-C takes it.
      getSelection().selectAllChildren(byId("snippet"));
      button.textContent = "Selected";
    }
    byId("copied").textContent = `${button.textContent}: the request as ${this.language}.`;
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1600);
  }
}
