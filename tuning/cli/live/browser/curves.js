// Learning curves in the report's colours and markers. Nothing is told by colour alone.

import { drawn, element, metric, short } from "./dom.js";

const MOST = 150; // curves at once, as in the report
const FEW = 30; // above it, curves have a marker at their last report only
const SPACE = { left: 52, right: 12, top: 20, bottom: 38 };

const MARKERS = {
  square: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  up: (r) => `M0,${-r}L${r},${r}L${-r},${r}z`,
  down: (r) => `M0,${r}L${r},${-r}L${-r},${-r}z`,
  diamond: (r) => `M0,${-1.25 * r}L${1.25 * r},0L0,${1.25 * r}L${-1.25 * r},0z`,
  plus: (r) => `M${-r},${-r / 3}h${r * 0.67}v${-r * 0.67}h${r * 0.67}v${r * 0.67}h${r * 0.67}v${r * 0.67}h${-r * 0.67}v${r * 0.67}h${-r * 0.67}v${-r * 0.67}h${-r * 0.67}z`,
  cross: (r) => `M${-r},${-r}L${r},${r}M${r},${-r}L${-r},${r}`,
  star: (r) => `M0,${-1.3 * r}L${0.4 * r},${-0.4 * r}L${1.3 * r},0L${0.4 * r},${0.4 * r}L0,${1.3 * r}L${-0.4 * r},${0.4 * r}L${-1.3 * r},0L${-0.4 * r},${-0.4 * r}z`,
};

function marker(kind, radius, colour, filled, x, y) {
  return drawn("path", {
    d: MARKERS[kind](radius), transform: `translate(${x},${y})`, "stroke-width": 1.2,
    style: `stroke: ${colour}; fill: ${filled ? colour : "var(--card)"}`,
  });
}

// Round steps of 1, 2 or 5 between two values.
export function ticks(low, high, most, least = 0) {
  const rough = Math.max((high - low) / Math.max(1, most) || 1, least);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((wide) => wide >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

// At most so many, of which the first half is the best, and the others are evenly spread.
export function sample(rows, most = MOST) {
  if (rows.length <= most) return rows;
  const half = rows.slice(0, most / 2), rest = rows.slice(most / 2), left = most - half.length;
  return [...half, ...Array.from({ length: left }, (_, n) => rest[Math.floor(((n + 0.5) * rest.length) / left)])];
}

export class Curves {
  constructor(plot, legend, open) {
    this.plot = plot;
    this.legend = legend;
    this.open = open;
    this.shown = null;
    new ResizeObserver(() => this.draw()).observe(plot);
  }

  // rows: best first.  points: by trial.  about: the part `curves`.  Returns what a caption must say besides.
  show(rows, points, about, best) {
    const held = rows.filter((row) => points.get(row.trial)?.some(([, value]) => value !== null));
    const chosen = sample(held);
    this.shown = { rows: chosen, of: held.length, points, about, best };
    this.draw();
    return held.length > chosen.length
      ? ` ${chosen.length} of ${held.length} trials are drawn: the best ${MOST / 2}, and an even sample of the others.` : "";
  }

  hot(trial) {
    for (const curve of this.plot.querySelectorAll(".curve")) {
      curve.classList.toggle("hot", curve.dataset.trial === String(trial));
    }
  }

  draw() {
    if (this.shown === null) return;
    const { rows, points, about, best } = this.shown;
    if (rows.length === 0) {
      this.plot.replaceChildren(element("p", { class: "absent" }, "No trial shown here has reported a value yet."));
      this.legend.replaceChildren();
      return;
    }
    const width = Math.max(280, this.plot.clientWidth), height = 352;
    const lines = new Map(rows.map((row) => [row.trial, points.get(row.trial).filter(([, value]) => value !== null)]));
    const all = [...lines.values()].flat();
    const values = [...all.map(([, value]) => value), ...[about.baseline, about.floor].filter((v) => v !== null)];
    const last = Math.max(...rows.map((row) => row.of || 0), ...all.map(([epoch]) => epoch));
    let low = Math.min(...values), high = Math.max(...values);
    const margin = (high - low || Math.abs(high) || 1) * 0.08;
    low -= margin; high += margin;
    const whole = all.every(([epoch]) => Number.isInteger(epoch));
    const first = Math.min(0, ...all.map(([epoch]) => epoch));
    const x = (epoch) => SPACE.left + ((epoch - first) / (last - first || 1)) * (width - SPACE.left - SPACE.right);
    const y = (value) => height - SPACE.bottom - ((value - low) / (high - low)) * (height - SPACE.top - SPACE.bottom);
    const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.words() });
    this.frame(picture, { width, height, low, high, first, last, whole, x, y, about });
    const few = rows.length <= FEW;
    for (const row of [...rows].sort((a, b) => (a.trial === best) - (b.trial === best))) {
      picture.append(this.curve(row, lines.get(row.trial), { x, y, few, about, best: row.trial === best }));
    }
    if (lines.has(best)) this.name(picture, best, lines.get(best), about, x, y, width);
    this.plot.replaceChildren(picture);
    this.explain(rows, about);
  }

  frame(picture, { width, height, low, high, first, last, whole, x, y, about }) {
    for (const value of ticks(low, high, 6)) {
      picture.append(
        drawn("line", { class: "grid", x1: SPACE.left, x2: width - SPACE.right, y1: y(value), y2: y(value) }),
        drawn("text", { x: SPACE.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
      );
    }
    for (const epoch of ticks(first, last, Math.max(2, Math.floor(width / 80)), whole ? 1 : 0)) {
      picture.append(drawn("text", { x: x(epoch), y: height - SPACE.bottom + 16, "text-anchor": "middle" }, short(epoch)));
    }
    for (const rung of about.rungs) {
      if (rung > last) continue;
      picture.append(
        drawn("line", { class: "rung", x1: x(rung), x2: x(rung), y1: SPACE.top, y2: height - SPACE.bottom }),
        drawn("text", { x: x(rung), y: SPACE.top - 6, "text-anchor": "middle" }, "rung"),
      );
    }
    for (const kind of ["baseline", "floor"]) {
      if (about[kind] === null) continue;
      const at = y(about[kind]);
      picture.append(drawn("line", { class: kind, x1: SPACE.left, x2: width - SPACE.right, y1: at, y2: at }));
    }
    const middle = (SPACE.top + height - SPACE.bottom) / 2;
    picture.append(
      drawn("text", { x: (SPACE.left + width - SPACE.right) / 2, y: height - 4, "text-anchor": "middle" }, "epoch"),
      drawn("text", { transform: `translate(13,${middle}) rotate(-90)`, "text-anchor": "middle" }, about.metric),
    );
  }

  curve(row, line, { x, y, few, about, best }) {
    const [colour, kind] = about.styles[row.adapter] ?? ["currentColor", "star"];
    const path = line.map(([epoch, value], n) => `${n ? "L" : "M"}${x(epoch).toFixed(1)},${y(value).toFixed(1)}`).join("");
    const wide = best ? 3 : few ? 1.6 : 1;
    const group = drawn(
      "g",
      { class: few || best ? "curve" : "curve faint", "data-trial": row.trial, onclick: () => this.open(row.trial) },
      drawn("title", {}, `trial ${row.trial}, ${row.adapter}, ${row.state}: ${metric(row.value)} after ${short(row.epoch)} epochs`),
      drawn("path", { d: path, style: "stroke: transparent", "stroke-width": 12 }),
      drawn("path", { class: "line", d: path, style: `stroke: ${colour}`, "stroke-width": wide, "stroke-dasharray": row.backbone ? "6 4" : null }),
    );
    for (const [epoch, value] of few || best ? line : line.slice(-1)) {
      group.append(marker(kind, best ? 4.5 : 3.2, colour, !row.backbone, x(epoch), y(value)));
    }
    return group;
  }

  name(picture, best, line, about, x, y, width) {
    const [epoch, value] = line.reduce((a, b) => (about.sign * b[1] < about.sign * a[1] ? b : a));
    const right = x(epoch) > width / 2;
    picture.append(drawn("text", {
      x: x(epoch) + (right ? -8 : 8), y: y(value) - 9, "text-anchor": right ? "end" : "start", "font-weight": 700,
      style: "paint-order: stroke; stroke: var(--card); stroke-width: 4px",
    }, `best: trial ${best}`));
  }

  words() {
    const { rows, of, about, best } = this.shown;
    const row = rows.find((one) => one.trial === best);
    const which = of > rows.length ? `${rows.length} of ${of} trials` : `${rows.length} ${rows.length === 1 ? "trial" : "trials"}`;
    return `Learning curves of ${which}: ${about.metric} on validation images by epoch`
      + (row ? `; trial ${best} is best with ${metric(row.value)}` : "") + ". The table of trials has the values.";
  }

  explain(rows, about) {
    const entry = (name, ...inside) =>
      element("li", {}, drawn("svg", { viewBox: "0 0 35 16", "aria-hidden": "true" }, ...inside), name);
    const line = (extra) => drawn("line", { x1: 1, x2: 34, y1: 8, y2: 8, ...extra });
    const found = [...new Set(rows.map((row) => row.adapter))].map((adapter) => {
      const [colour, kind] = about.styles[adapter] ?? ["currentColor", "star"];
      return entry(adapter, line({ style: `stroke: ${colour}`, "stroke-width": 2 }), marker(kind, 4, colour, true, 17.5, 8));
    });
    const soft = { style: "stroke: var(--soft)", "stroke-width": 1.5 };
    if (rows.some((row) => row.backbone)) {
      found.push(entry("backbone trains", line({ ...soft, "stroke-dasharray": "6 4" }), marker("circle", 4, "var(--soft)", false, 17.5, 8)));
    }
    if (about.rungs.length) found.push(entry("rung", line({ ...soft, "stroke-dasharray": "1.5 3" })));
    if (about.baseline !== null) found.push(entry("pretrained baseline", line({ ...soft, "stroke-dasharray": "7 3 1.5 3" })));
    if (about.floor !== null) found.push(entry("constant predictor", line(soft)));
    this.legend.replaceChildren(...found);
  }
}
