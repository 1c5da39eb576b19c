// The panel of one sweep: holds its parts as they came, and shows those that have changed.

import { Curves } from "./curves.js";
import { duration, element, keepingFocus, metric, put, setting, settings, words } from "./dom.js";
import { Table, filtered } from "./table.js";

const RESUME = "`adaptertune resume` continues it.";
const STATES = {
  running: "", paused: "Its trials wait until it goes on.", finished: "What is added is tried when the sweep is resumed.", interrupted: RESUME, failed: RESUME,
  unknown: "Whether its driver runs cannot be seen from here, where its folder can only be read.",
  died: `Its driver died; what it had recorded is kept. ${RESUME}`,
};

export class Panel {
  constructor(node, number, forms) {
    this.number = number;
    this.forms = forms;
    this.at = Object.fromEntries([...node.querySelectorAll("[data-at]")].map((one) => [one.dataset.at, one]));
    this.sections = Object.fromEntries([...node.querySelectorAll("[data-section]")].map((one) => [one.dataset.section, one]));
    this.overview = document.querySelectorAll(`#overview-${number} td`);
    this.curves = new Curves(this.at.plot, this.at.legend, (trial) => this.open(trial));
    this.table = new Table(this.at.trials, this.at.more, {
      open: (trial) => this.open(trial),
      hot: (trial) => this.curves.hot(trial),
    });
    this.at.filter.addEventListener("input", () => this.rows());
    this.at.states.addEventListener("change", () => this.rows());
    this.clear();
  }

  clear() {
    this.parts = {};
    this.trials = new Map();
    this.points = new Map();
  }

  // A change: see `tuning.cli.live.sweeps`.
  take({ anew, parts, points }) {
    if (anew) this.clear();
    let rows = anew;
    for (const [name, part] of Object.entries(parts)) {
      const [kind, which] = name.split(" ");
      if (kind === "trial") {
        this.trials.set(Number(which), part);
        rows = true;
      } else if (kind === "section") {
        // Made and escaped by the report's own templates.
        keepingFocus(this.sections[which], () => { this.sections[which].innerHTML = part; });
      } else this.parts[name] = part;
    }
    for (const [trial, [kept, more]] of Object.entries(points)) {
      const known = this.points.get(Number(trial)) ?? [];
      this.points.set(Number(trial), [...known.slice(0, kept), ...more]);
      rows = true;
    }
    if (parts.highlights) this.highlights();
    if (parts.head) this.head();
    if (rows || parts.curves || parts.head) this.rows();
  }

  // --- the whole sweep ---------------------------------------------------------------------------

  head() {
    const { head, curves } = this.parts;
    const total = head.total === null ? "" : ` of ${head.total}`;
    put(this.at.state, head.state);
    const counts = Object.entries(head.counts).map(([state, n]) => `${n} ${words(state)}`).join(", ") || "no trial yet";
    const pace = head.images_per_s === null ? "" : `; ${Math.round(head.images_per_s)} images/s`;
    const left = head.left_s === null ? "" : `; about ${duration(head.left_s)} left`;
    put(this.at.counts, `${counts}${pace}${left}`);
    put(this.at.about, head.about);
    put(this.at.trouble, head.trouble ? `The record cannot be read now; what is shown is from before. ${head.trouble}` : "");
    this.at.trouble.hidden = !head.trouble;
    const best = head.best === null ? "–" : `${curves.metric} ${metric(head.best.value)} (trial ${head.best.trial})`;
    [head.state, `${head.ended}${total}`, best, head.left_s === null ? "–" : duration(head.left_s)]
      .forEach((text, n) => { if (this.overview[n]) put(this.overview[n], text); });
    this.buttons();
    this.waiting();
  }

  highlights() {
    this.at.highlights.replaceChildren(...this.parts.highlights.map(([name, value, on]) =>
      element("div", {}, element("dt", {}, name), element("dd", { class: "figure" }, value), element("dd", { class: "on" }, on))));
  }

  buttons() {
    const state = this.parts.head.state;
    keepingFocus(this.at.actions, () => {
      const buttons = this.forms.of("sweep", state).map(([name, action, offered]) =>
        element("button", { type: "button", disabled: !offered, onclick: () => this.forms.open(name, this.number, { space: this.parts.space, sweep: this.parts.head.name }) }, action.label));
      const said = STATES[state] ? element("p", { class: "soft" }, STATES[state]) : null;
      this.at.actions.replaceChildren(...buttons, ...(said && (buttons.length || state !== "finished") ? [said] : []));
    });
  }

  waiting() {
    this.at.waiting.replaceChildren(...this.parts.head.waiting.map(({ params, by, of }) =>
      element("li", {}, `waits to be tried${by ? `, added by ${by}` : ""}${of === null ? "" : `, a copy of trial ${of}`}: ${settings(params)}`)));
  }

  // --- trials ------------------------------------------------------------------------------------

  rows() {
    const { head, curves } = this.parts;
    if (!head || !curves) return;
    const all = [...this.trials.values()];
    const states = [...new Set(all.map((row) => row.state))].sort();
    const chosen = this.at.states.value;
    if (states.join() !== [...this.at.states.options].slice(1).map((one) => one.value).join()) {
      this.at.states.replaceChildren(...["", ...states].map((one) => element("option", { value: one, selected: one === chosen }, one ? words(one) : "all")));
    }
    const shown = filtered(all, this.at.filter.value, this.at.states.value);
    put(this.at.count, `${shown.length} of ${all.length} trials`);
    this.table.show(shown, curves.sign, curves.metric);
    const ranked = [...shown].sort((a, b) => (a.value === null) - (b.value === null) || curves.sign * (a.value - b.value));
    const sampled = this.curves.show(ranked, this.points, curves, head.best?.trial ?? null);
    put(this.at.caption, `${curves.caption}.${sampled}`);
    this.running(all.filter((row) => row.state === "running"));
  }

  running(rows) {
    const { head, curves } = this.parts;
    const doing = head.scored !== null && head.state === "running"
      ? `Scoring on test images: ${head.scored[0]} of ${head.scored[1]} done.`
      : head.state === "running" && !head.prepared ? "Ray starts, and the data are prepared."
      : rows.length ? "" : "No trial runs now.";
    put(this.at.doing, doing);
    this.at.doing.hidden = !doing;
    this.at.running.hidden = rows.length === 0;
    const together = rows.some((row) => row.lanes > 1);
    const columns = ["trial", "epochs", curves.metric, "worker", ...(together ? ["in step with"] : []), "last report", "settings"];
    rows.sort((a, b) => (a.worker ?? "").localeCompare(b.worker ?? "", "en", { numeric: true }) || a.trial - b.trial);
    keepingFocus(this.at.running, () => {
      this.at.running.replaceChildren(element("table", {},
        element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)))),
        element("tbody", {}, ...rows.map((row) => this.runningRow(row, together)))));
    });
  }

  runningRow(row, together) {
    const done = `${Number(row.epoch.toPrecision(6))} of ${Number(row.of.toPrecision(6))}`;
    const others = row.lanes > 1 ? `${row.lanes - 1} ${row.lanes === 2 ? "other" : "others"}` : "–";
    return element("tr", {},
      element("td", {}, element("button", { type: "button", "aria-label": `trial ${row.trial}`, onclick: () => this.open(row.trial) }, String(row.trial))),
      element("td", {}, element("progress", { max: row.of || 1, value: row.epoch, "aria-label": `epochs of trial ${row.trial}` }), ` ${done}`),
      element("td", {}, metric(row.value)),
      element("td", {}, place(row.worker)),
      together ? element("td", {}, others) : null,
      element("td", { "data-since": row.time }, "–"),
      element("td", {}, settings(row.params)));
  }

  // Everything that is known of a trial, and what can be done to it.
  open(trial) {
    const row = this.trials.get(trial);
    const { head, curves, space } = this.parts;
    const facts = {
      state: words(row.state) + (row.stopped_by ? ` (by ${row.stopped_by})` : ""),
      [curves.metric]: metric(row.value) + (row.collapsed ? ", collapsed: no better than a constant predictor" : ""),
      epochs: `${Number(row.epoch.toPrecision(6))} of ${Number(row.of.toPrecision(6))}`,
      worker: place(row.worker),
      time: `${duration(row.seconds)} of training and evaluation`,
      "peak memory": row.peak_mb === null ? "–" : `${Math.round(row.peak_mb).toLocaleString("en")} MB`,
      "parameters that train": row.trainable === null ? "–" : row.trainable.toLocaleString("en"),
      ...(row.repeats === null ? {} : { repeats: `trial ${row.repeats}` }),
      ...(row.begins ? { begins: `it ${row.begins}` } : {}),
      ...(row.reason ? { reason: row.reason } : {}),
      ...Object.fromEntries(Object.entries(row.params).map(([name, value]) => [name, setting(value)])),
    };
    this.forms.show(this.number, { sweep: head.name, state: head.state, space, row, facts });
  }

  // --- the time ----------------------------------------------------------------------------------

  tick(now) {
    if (!this.parts.head) return;
    put(this.at.ago, `Last line of the record ${duration(Math.max(0, now - this.parts.head.seen))} ago.`);
    for (const cell of this.at.running.querySelectorAll("[data-since]")) {
      put(cell, `${duration(Math.max(0, now - Number(cell.dataset.since)))} ago`);
    }
  }
}

function place(worker) {
  if (!worker) return "–";
  const cut = worker.lastIndexOf(":");
  return `${worker.slice(0, cut)}, process ${worker.slice(cut + 1)}`;
}
