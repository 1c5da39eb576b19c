// Elements, and the format of values: as `tuning.formatting` and `analysis.tables` have it.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export const element = (tag, attributes = {}, ...children) =>
  made(document.createElement(tag), attributes, children);

export const drawn = (tag, attributes = {}, ...children) =>
  made(document.createElementNS(SVG, tag), attributes, children);

// Set a text, without a change where it is the same, so that a selection in it stays.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Do work that moves or replaces elements in a container; the one with the focus has it afterwards.
export function keepingFocus(container, work) {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  const label = focused?.getAttribute("aria-label");
  const able = () => [...container.querySelectorAll("a[href], button, input, select, [tabindex]")];
  const place = focused ? able().indexOf(focused) : -1;
  const scrolled = [...container.querySelectorAll(".scroll")].map((node) => node.scrollLeft);
  work();
  [...container.querySelectorAll(".scroll")].forEach((node, n) => { node.scrollLeft = scrolled[n] ?? 0; });
  if (focused && document.activeElement !== focused) {
    const same = label ? able().find((node) => node.getAttribute("aria-label") === label) : able()[place];
    (container.contains(focused) ? focused : same ?? container).focus({ preventScroll: true });
  }
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600).toLocaleString("en")} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

export const metric = (value) => (value === null || value === undefined ? "–" : value.toFixed(4));

export const short = (value) => String(Number(value.toPrecision(4)));

export function setting(value) {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.map(setting).join(",");
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : short(value);
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}

export const settings = (params) =>
  Object.entries(params).map(([name, value]) => `${name}=${setting(value)}`).join("  ");

export const words = (state) => state.replaceAll("_", " ");
