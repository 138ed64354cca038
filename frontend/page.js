// Making and finding parts of the page. Data becomes text and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const part = (id) => document.getElementById(id);

/** An element. Properties that are functions listen ("onclick"), the others are attributes; null and false leave one out. */
export function make(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

/** The same for what is drawn. */
export function draw(tag, properties = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), properties, children);
}

/** A symbol of index.html. */
export const icon = (name) => draw("svg", { "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));

/** A button that says what it does. */
export const button = (kind, label, onclick) => make("button", { class: kind, type: "button", onclick }, label);

/** A line that tells of a problem, with a way out of it. */
export function problem(text, label, onclick) {
  return make("p", { class: "note" }, make("span", {}, text), onclick ? button("plain small", label, onclick) : null);
}

/** Tells people who listen to the page. */
export function announce(text) {
  part("announcer").textContent = text;
}

function dress(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
