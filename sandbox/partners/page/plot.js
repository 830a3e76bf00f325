// A plot of one connector: events delivered a second above, events held below, over the same time.

import { count, rate } from "./words.js";

const SAMPLES = 180;
const MINUTE = 60;
const HEIGHT = 92;
const DELIVERED = { top: 15, bottom: 50 };
const HELD = { top: 67, bottom: 92 };
const SVG = "http://www.w3.org/2000/svg";

export class Plot {
  constructor(parent) {
    this.width = 0;
    this.svg = node("svg", { role: "img", height: HEIGHT });
    this.shades = node("g");
    this.grid = node("g", { class: "grid" });
    this.delivered = band("delivered");
    this.held = band("held");
    this.svg.append(this.shades, this.grid, ...this.delivered, ...this.held);
    this.labels = {
      delivered: node("text", { x: 0, y: 10, class: "label delivered" }),
      held: node("text", { x: 0, y: 63, class: "label held" }),
      deliveredMost: node("text", { y: 10, class: "label most" }),
      heldMost: node("text", { y: 63, class: "label most" }),
    };
    this.svg.append(...Object.values(this.labels));
    parent.append(this.svg);
    new ResizeObserver(([entry]) => {
      this.width = Math.round(entry.contentRect.width);
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
      this.drawGrid();
      if (this.shown) this.show(this.shown);
    }).observe(parent);
  }

  show(connector) {
    this.shown = connector;
    const { delivered, holding, states } = connector;
    if (!this.width || !delivered.length) return;
    const heldNow = connector.held;
    const deliveredNow = delivered.at(-1);
    this.draw(this.delivered, delivered, DELIVERED, niceMost(delivered, 20));
    this.draw(this.held, [...holding.slice(0, -1), heldNow], HELD, niceMost(holding, 100));
    this.shade(states);
    this.labels.delivered.textContent = `${rate(deliveredNow)} delivered a second`;
    this.labels.held.textContent = `${count(heldNow)} held`;
    this.labels.deliveredMost.textContent = `${count(niceMost(delivered, 20))}/s`;
    this.labels.heldMost.textContent = count(niceMost(holding, 100));
    this.svg.setAttribute(
      "aria-label",
      `Over three minutes: ${rate(deliveredNow)} events delivered a second now, ${count(heldNow)} held`,
    );
  }

  // The newest sample is at the right edge.
  x(index, length) {
    return this.width * (1 - (length - 1 - index) / (SAMPLES - 1));
  }

  draw([area, line], values, { top, bottom }, most) {
    const points = values.map((value, index) => {
      const y = bottom - (bottom - top) * Math.min(1, value / most);
      return `${this.x(index, values.length).toFixed(1)} ${y.toFixed(1)}`;
    });
    const from = this.x(0, values.length).toFixed(1);
    line.setAttribute("d", `M${points.join("L")}`);
    area.setAttribute("d", `M${from} ${bottom}L${points.join("L")}L${this.width} ${bottom}Z`);
  }

  shade(states) {
    const runs = [...states.matchAll(/s+|r+/g)];
    this.shades.replaceChildren(
      ...runs.map((run) => {
        const from = this.x(run.index - 0.5, states.length);
        const to = this.x(run.index + run[0].length - 0.5, states.length);
        const state = run[0].startsWith("s") ? "suspended" : "resuming";
        return node("rect", { x: from, y: 0, width: to - from, height: HEIGHT, class: state });
      }),
    );
  }

  drawGrid() {
    const lines = [];
    for (let seconds = MINUTE; seconds < SAMPLES; seconds += MINUTE) {
      const x = this.width * (1 - seconds / (SAMPLES - 1));
      lines.push(node("line", { x1: x, x2: x, y1: DELIVERED.top, y2: HEIGHT }));
      const ago = node("text", { x: x + 3, y: HEIGHT - 3 });
      ago.textContent = `${seconds / MINUTE} min ago`;
      lines.push(ago);
    }
    for (const { bottom } of [DELIVERED, HELD]) {
      lines.push(node("line", { x1: 0, x2: this.width, y1: bottom, y2: bottom, class: "floor" }));
    }
    this.grid.replaceChildren(...lines);
    this.labels.deliveredMost.setAttribute("x", this.width);
    this.labels.heldMost.setAttribute("x", this.width);
  }
}

function band(name) {
  return [node("path", { class: `area ${name}` }), node("path", { class: `line ${name}` })];
}

function node(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The next of 1, 2, 5, 10, ... that no value is above.
function niceMost(values, least) {
  const most = Math.max(least, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
}
