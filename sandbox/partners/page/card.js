// A card: one connector with its state, plot, figures and the switches of its partner.

import { Plot } from "./plot.js";
import {
  FAULTS, count, duration, kindInWords, lastRequest, rate, switchOf, timeOfDay, why,
} from "./words.js";

const LEAVING_SECONDS = 2;

const STATES = {
  starting: "Starting",
  healthy: "Healthy",
  holding: "Holding",
  suspended: "Suspended",
  resuming: "Resuming",
};

export class Card {
  // `setFault(site, fault)` is a promise; `openExchanges(site)` shows its requests.
  constructor(connector, { setFault, openExchanges }) {
    this.setFault = setFault;
    this.setting = false;
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.root.dataset.connector = connector.name;
    this.find = (selector) => this.root.querySelector(selector);
    const id = `card-${connector.name}`;
    this.find(".name").id = id;
    this.root.setAttribute("aria-labelledby", id);
    setText(this.find(".name"), connector.name);
    setText(this.find(".kind"), kindInWords(connector.kind));
    this.plot = new Plot(this.find(".plot"));
    this.requests = this.find(".requests");
    this.figures = new Figures(this.find(".figures"));
    if (connector.site === null) {
      this.find(".faults").remove();
      this.requests.remove();
    } else {
      this.makeSwitches(connector.site);
      this.requests.setAttribute("aria-label", `Requests to ${connector.name}`);
      this.requests.addEventListener("click", () => openExchanges(connector.site));
    }
  }

  makeSwitches(site) {
    setText(this.find("legend"), `The partner of ${site}`);
    this.inputs = FAULTS.map(({ id, label, title, fault }) => {
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: `fault-${site}`, value: id });
      input.addEventListener("change", () => this.choose(site, fault));
      const text = document.createElement("span");
      setText(text, label);
      const pill = document.createElement("label");
      pill.title = title;
      pill.append(input, text);
      this.find(".faults").append(pill);
      return input;
    });
  }

  async choose(site, fault) {
    this.setting = true;
    await this.setFault(site, fault).finally(() => { this.setting = false; });
  }

  // `site` is what is told of its partner, where it has one here.
  show(connector, site, now, isStarting) {
    const state = isStarting && connector.state === "healthy" ? "starting" : connector.state;
    this.root.dataset.state = state;
    this.find(".state").hidden = !(state in STATES);
    this.find("use").setAttribute("href", `#mark-${state}`);
    setText(this.find(".word"), STATES[state] ?? "");
    this.find(".unproved").hidden = connector.counts?.proves_delivery !== false;
    this.plot.show(connector);
    this.figures.show(connector.lanes.length ? inTrouble(connector, now) : inHealth(connector));
    setText(this.find(".why"), why(connector) || settled(site, now));
    if (site) this.showSwitch(site);
  }

  showSwitch(site) {
    if (this.setting) return;
    const chosen = switchOf(site.fault);
    for (const input of this.inputs) input.checked = input.value === chosen;
    this.root.dataset.fault = chosen ?? "other";
  }
}

function settled(site, now) {
  return site ? lastRequest(site.requests, now) : "A folder on this machine";
}

function inHealth({ counts }) {
  const p50 = counts?.latency_ms.p50 ?? null;
  return [
    ["Delivered", counts ? count(counts.delivered) : "–"],
    ["Filtered", counts ? count(total(counts.filtered)) : "–"],
    ["Dead letters", counts ? count(total(counts.dead)) : "–"],
    ["Answers in", p50 === null ? "–" : `${count(Math.round(p50))} ms`],
  ];
}

function inTrouble(connector, now) {
  const { state, lanes } = connector;
  const oldest = Math.min(...lanes.map((lane) => lane.oldest ?? Infinity));
  return [
    ["Oldest is from", Number.isFinite(oldest) ? timeOfDay(oldest) : "–"],
    ["It has waited", Number.isFinite(oldest) ? duration(now - oldest) : "–"],
    ...(state === "resuming" ? leaving(connector) : waiting(connector, now)),
  ];
}

function waiting({ state, lanes }, now) {
  const told = lanes.map((lane) => lane.status).filter(Boolean);
  const probe = soonest(told, "next_probe");
  const letters = soonest(told, "dead_letters_from");
  const next = probe ? inTime(probe - now) : "–";
  return [
    state === "suspended" ? ["Next probe in", next] : ["Next try in", "a moment"],
    ["Dead letters in", letters ? duration(letters - now) : "–"],
  ];
}

// How fast what is held gets less, over the last seconds, and when nothing is left at this pace.
function leaving({ held, holding }) {
  const before = holding.at(-1 - LEAVING_SECONDS) ?? held;
  const less = (before - held) / LEAVING_SECONDS;
  return [
    ["Fewer a second", less > 0 ? rate(less) : "–"],
    ["Nothing held in", less > 0 ? `about ${duration((held / less) * 1_000 + 999)}` : "–"],
  ];
}

const inTime = (ms) => (ms > 0 ? duration(ms + 999) : "now");

function soonest(statuses, field) {
  const times = statuses.map((status) => Date.parse(status[field])).filter(Number.isFinite);
  return times.length ? Math.min(...times) : null;
}

const total = (counts) => Object.values(counts).reduce((sum, number) => sum + number, 0);

// Names with their values, of which only what has changed is written anew.
export class Figures {
  constructor(list) {
    this.list = list;
    this.cells = [];
  }

  show(pairs) {
    while (this.cells.length < pairs.length) this.add();
    while (this.cells.length > pairs.length) this.cells.pop().group.remove();
    pairs.forEach(([name, value], index) => {
      setText(this.cells[index].name, name);
      setText(this.cells[index].value, value);
    });
  }

  add() {
    const group = document.createElement("div");
    const name = document.createElement("dt");
    const value = document.createElement("dd");
    group.append(name, value);
    this.list.append(group);
    this.cells.push({ group, name, value });
  }
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
