// The table of trials: filter, sort, and rows that are changed in place, so that the focus stays.

import { duration, element, keepingFocus, metric, put, setting, words } from "./dom.js";

const STEP = 25; // rows at first, and with each press of the button below
const COMPARISON = /^([\w.@/]+?)(<=|>=|=|<|>)(.+)$/;

const FIXED = {
  trial: (row) => row.trial,
  state: (row) => words(row.state),
  value: (row) => row.value,
  epoch: (row) => row.epoch,
  seconds: (row) => row.seconds,
  trainable: (row) => row.trainable,
  worker: (row) => row.worker,
  adapter: (row) => row.adapter,
  freezing: (row) => row.freezing,
};

export const valueOf = (row, name) => (row.params[name] !== undefined ? row.params[name] : FIXED[name]?.(row) ?? null);

// Numbers before text, and nothing at the end whatever the direction.
function compared(a, b, sign) {
  const none = (value) => value === null || value === undefined;
  if (none(a) || none(b)) return none(a) - none(b);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return sign * setting(a).localeCompare(setting(b), "en", { numeric: true });
}

// The rows that hold every word and every comparison of a text.
export function filtered(rows, text, state) {
  const asked = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => (!state || row.state === state) && asked.every((word) => holds(row, word)));
}

function holds(row, word) {
  const parts = COMPARISON.exec(word);
  if (parts) {
    const [, name, sign, wanted] = parts;
    const known = [...Object.keys(row.params), ...Object.keys(FIXED)];
    const full = known.find((one) => one.toLowerCase() === name) ?? known.find((one) => one.toLowerCase().endsWith(`.${name}`));
    const value = full === undefined ? null : valueOf(row, full);
    if (value === null || value === undefined) return false;
    const number = Number(wanted);
    if (typeof value === "number" && !Number.isNaN(number)) {
      return { "<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number, "=": value === number }[sign];
    }
    return sign === "=" && setting(value).toLowerCase() === wanted;
  }
  const pairs = Object.entries(row.params).map(([name, value]) => `${name}=${setting(value)}`);
  return [`trial ${row.trial}`, words(row.state), row.adapter, row.freezing, row.worker ?? "", row.reason ?? "", ...pairs]
    .some((held) => String(held).toLowerCase().includes(word));
}

export class Table {
  constructor(region, more, { open, hot }) {
    this.region = region;
    this.more = more;
    this.open = open;
    this.hot = hot;
    this.by = "value";
    this.up = null; // whether in rising order; null for the best first
    this.most = STEP;
    this.rows = new Map();
    this.columns = [];
    this.head = element("thead");
    this.body = element("tbody");
    region.replaceChildren(element("table", {}, this.head, this.body));
    more.addEventListener("click", () => { this.most += STEP; this.again(); });
  }

  // best: what sorts the best first, 1 for low values.
  show(rows, best, name) {
    this.last = [rows, best, name];
    const params = [...new Set(rows.flatMap((row) => Object.keys(row.params)))];
    const numeric = (name) => rows.every((row) => row.params[name] === undefined || typeof row.params[name] === "number");
    const columns = ["trial", "state", "value", "epoch", ...params, "seconds", "trainable"];
    keepingFocus(this.region, () => {
      const right = new Set(["value", "epoch", "seconds", "trainable", ...params.filter(numeric)]);
      const made = [name, ...columns, "|", ...right].join();
      if (made !== this.made) this.begin(columns, right, name);
      this.made = made;
      const sign = this.by === "value" && this.up === null ? best : this.up === false ? -1 : 1;
      const sorted = [...rows].sort((a, b) => compared(valueOf(a, this.by), valueOf(b, this.by), sign) || a.trial - b.trial);
      for (const [n, cell] of [...this.head.querySelectorAll("th")].entries()) {
        if (this.columns[n] === this.by) cell.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        else cell.removeAttribute("aria-sort");
      }
      this.fill(sorted.slice(0, this.most));
    });
    const left = rows.length - this.most;
    this.more.hidden = left <= 0;
    if (left > 0) put(this.more, `Show ${Math.min(STEP, left)} more of ${left}`);
  }

  again() {
    if (this.last) this.show(...this.last);
  }

  begin(columns, right, name) {
    this.columns = columns;
    this.right = right;
    this.rows.clear();
    this.body.replaceChildren();
    const title = (column) => ({ value: name, epoch: "epochs", seconds: "time" })[column] ?? column;
    this.head.replaceChildren(element("tr", {}, ...columns.map((column) =>
      element("th", { scope: "col", class: right.has(column) ? "n" : null }, element("button", { type: "button", onclick: () => this.sort(column) }, title(column))),
    )));
  }

  sort(column) {
    if (this.by === column) this.up = this.up === null ? this.last[1] < 0 : !this.up;
    else [this.by, this.up] = [column, column === "value" ? null : true];
    this.again();
  }

  fill(rows) {
    const kept = new Set(rows.map((row) => row.trial));
    for (const [trial, { node }] of this.rows) {
      if (!kept.has(trial)) { node.remove(); this.rows.delete(trial); }
    }
    let before = this.body.firstElementChild;
    for (const row of rows) {
      const known = this.rows.get(row.trial) ?? this.added(row.trial);
      if (known.row !== row) {
        known.row = row;
        this.columns.forEach((column, n) => put(known.cells[n], this.text(row, column)));
      }
      if (known.node === before) before = before.nextElementSibling;
      else this.body.insertBefore(known.node, before);
    }
  }

  added(trial) {
    const button = element("button", { type: "button", onclick: () => this.open(trial), "aria-label": `trial ${trial}` });
    const cells = this.columns.map((column) => (column === "trial" ? button : element("td", { class: this.right.has(column) ? "n" : null })));
    const node = element("tr", { "data-trial": trial }, ...cells.map((cell) => (cell === button ? element("td", {}, button) : cell)));
    for (const event of ["mouseenter", "focusin"]) node.addEventListener(event, () => this.hot(trial));
    for (const event of ["mouseleave", "focusout"]) node.addEventListener(event, () => this.hot(null));
    const made = { node, cells, row: null };
    this.rows.set(trial, made);
    return made;
  }

  text(row, column) {
    if (row.params[column] !== undefined) return setting(row.params[column]);
    switch (column) {
      case "trial": return String(row.trial);
      case "state": return words(row.state);
      case "value": return metric(row.value) + (row.collapsed ? " (collapsed)" : "");
      case "epoch": return `${Number(row.epoch.toPrecision(6))} of ${Number(row.of.toPrecision(6))}`;
      case "seconds": return duration(row.seconds);
      case "trainable": return row.trainable === null ? "–" : row.trainable.toLocaleString("en");
      default: return "";
    }
  }
}
