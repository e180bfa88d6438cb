// Draws an answer: the class with a bar per probability, or the value on the range of known values.

import { el } from "./dom.js";
import { percent, short } from "./numbers.js";

const MAX_FIXED = 8;
const MAX_BARS = 8;
const MAX_STILL = 4;
const MEANING = {
  "outlier detection": "Below zero, the row is an outlier.",
  clustering: "The distance to the nearest center, or, of a mixture, the logarithm of the density.",
};

export class Answer {
  constructor(container, card) {
    this.card = card;
    this.container = container;
    this.headline = el("p", { class: "headline" });
    this.notes = el("ul", { class: "answer-notes" });
    this.drawing = el("div", { class: "drawing" });
    this.score = el("p", { class: "soft small", hidden: "" });
    const target = el("p", { class: "target" }, card.target);
    container.replaceChildren(target, this.headline, this.drawing, this.score, this.notes);
  }

  /** Shows an answer; returns it in words, for those who listen. */
  show(answer, notes) {
    this.container.dataset.state = "answered";
    const said = this.card.task === "regression" ? this.#value(answer.prediction) : this.#classes(answer);
    this.note(notes, "warn");
    return `${this.card.target}: ${said}`;
  }

  /** Keeps the last answer, greyed, under what went wrong. */
  refuse(notes) {
    this.container.dataset.state = "refused";
    this.note(notes, "bad");
  }

  note(notes, tone) {
    this.notes.replaceChildren(...notes.map((text) => el("li", { class: tone }, text)));
  }

  #classes({ prediction_label: label, probabilities, score }) {
    this.headline.textContent = label;
    const scored = typeof score === "number" ? `, score ${short(score, 5)}` : "";
    this.score.hidden = !scored;
    this.score.textContent = scored && `Score: ${short(score, 5)}. ${MEANING[this.card.task] ?? ""}`;
    if (!probabilities) {
      this.drawing.replaceChildren(...(scored ? [] : [el("p", { class: "soft" }, "This model gives no probabilities.")]));
      return `${label}${scored}`;
    }
    const ranked = this.card.text_labels.map((name, i) => ({ name, share: probabilities[i] }));
    const best = ranked.find(({ name }) => name === label);
    let shown = ranked;
    let rest = null;
    if (ranked.length > MAX_FIXED) {
      shown = [...ranked].sort((a, b) => b.share - a.share);
      const others = shown.splice(MAX_BARS - 1);
      rest = { name: `${others.length} others`, share: others.reduce((sum, { share }) => sum + share, 0) };
    }
    const names = [...shown, ...(rest ? [rest] : [])];
    this.#bars(names, label);
    return `${best ? `${label}, ${percent(best.share)}` : label}${scored}`;
  }

  /** Bars keep their elements while the classes stay the same, so that they move rather than jump. */
  #bars(names, label) {
    const key = JSON.stringify(names.map(({ name }) => name));
    if (key !== this.key || !this.list?.isConnected) {
      this.key = key;
      this.list = el("ul", { class: "bars", "aria-label": "Probabilities", tabindex: names.length > MAX_STILL ? "0" : null }, names.map(({ name }) =>
        el("li", {}, el("span", { class: "bar-name" }, name), el("span", { class: "track" }, el("span", { class: "fill" })), el("span", { class: "bar-share" }))));
      this.drawing.replaceChildren(this.list);
    }
    names.forEach(({ name, share }, i) => {
      const item = this.list.children[i];
      item.classList.toggle("best", name === label);
      item.querySelector(".fill").style.width = `${share * 100}%`;
      item.querySelector(".bar-share").textContent = percent(share);
    });
  }

  #value(value) {
    this.headline.textContent = short(value, 5);
    const known = this.card.examples.map((example) => example.answer).filter((each) => typeof each === "number");
    if (known.length < 2) {
      this.drawing.replaceChildren();
      return short(value, 5);
    }
    const [low, high] = [Math.min(value, ...known), Math.max(value, ...known)];
    const margin = (high - low || 1) * 0.04;
    const at = (each) => `${(100 * (each - low + margin)) / (high - low + 2 * margin)}%`;
    const placed = (className, each) => {
      const mark = el("span", { class: className });
      mark.style.left = at(each);
      return mark;
    };
    const ends = [Math.min(...known), Math.max(...known)];
    this.drawing.replaceChildren(
      el("div", { class: "scale", "aria-hidden": "true" }, known.map((each) => placed("tick", each)), placed("marker", value)),
      el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, short(low)), el("span", {}, short(high))),
      el("p", { class: "soft small" }, `Ticks: the answers to this page’s example rows, ${short(ends[0])} to ${short(ends[1])}.`),
    );
    return short(value, 5);
  }
}
