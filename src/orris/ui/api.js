// Talks to the server that this page came from, and to no other.

/** The root of the server, whatever path a proxy put in front of it: this file is `ui/api.js` below it. */
export const base = new URL("..", import.meta.url);

export const urlOf = (path) => new URL(path.replace(/^\//, ""), base).href;

const PATIENCE = 60_000;

let key = "";

/** The key is held here and nowhere else. */
export function useKey(text) {
  key = text.trim();
}

export const hasKey = () => key !== "";

/** What the server said no with; `problem` is its problem document. */
export class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || (status ? `the server answered ${status}` : "the server does not answer"));
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

async function request(path, { body, signal: given, accept }) {
  const headers = { Accept: accept };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const patience = AbortSignal.timeout(PATIENCE);
  const signal = given ? AbortSignal.any([given, patience]) : patience;
  let response;
  try {
    response = await fetch(urlOf(path), { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-cache", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error.name === "TimeoutError") throw new Refusal(0, { detail: `The server has not answered within ${PATIENCE / 1000} s.` });
    throw new Refusal(0, { detail: "The server does not answer." });
  }
  if (response.ok) return response;
  const text = await response.text();
  let problem = { detail: text.slice(0, 300) };
  try {
    problem = JSON.parse(text);
  } catch {
    // Not the server's own words: a proxy's, which are shown as they are.
  }
  throw new Refusal(response.status, problem, Number(response.headers.get("retry-after")) || 0);
}

/** Asks for JSON; with a body, posts it. Returns the document, the milliseconds as seen here and as the server says, and the request id. */
export async function ask(path, { body, signal } = {}) {
  const start = performance.now();
  const response = await request(path, { body, signal, accept: "application/json" });
  const document = await response.json();
  const spent = performance.now() - start;
  return { document, spent, inServer: Number(response.headers.get("x-process-time")) * 1000, id: response.headers.get("x-request-id") };
}

export async function text(path) {
  return (await request(path, { accept: "text/plain" })).text();
}

/** A picture as a data URL: a request for a picture cannot carry a key. */
export async function picture(path) {
  if (!key) return urlOf(path);
  const blob = await (await request(path, { accept: "image/png" })).blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Hands text to the reader as a file. */
export function save(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A page of the server as a file, for pages that need the key. */
export async function saveFrom(path, name) {
  save(name, "text/html", await (await request(path, { accept: "text/html" })).blob());
}
