// Makes elements. Text is always text: nothing that a server or a file says is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; `on` holds listeners, `false`, `null` and `undefined` leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A name, such as a column's, that may break behind an underscore, a dot, a hyphen or a slash, and nowhere else. */
export function named(name) {
  return name.split(/(?<=[_./-])(?=[^_./-])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part]));
}

export const byId = (id) => document.getElementById(id);

/** Calls `action` once things have been quiet for a while. */
export function debounced(milliseconds, action) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds, ...values);
  };
}
