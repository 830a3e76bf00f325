// The page asks for the whole state twice a second and shows it; it keeps nothing else, so whatever
// is started anew behind it, it goes on with the next answer.

import { Card, Figures, setText } from "./card.js";
import { Exchanges } from "./exchanges.js";
import { PHASES, count, duration, newsInWords, timeOfDay } from "./words.js";

const POLL_MS = 500;
const GIVE_UP_MS = 4_000;

const banner = document.getElementById("banner");
const phase = document.getElementById("phase");
const cardsSection = document.getElementById("cards");
const newsList = document.getElementById("news");
const books = new Figures(document.getElementById("books"));

const cards = new Map();
let last = null;
let newsShown = 0;
let started = null;
let problem = "";

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(GIVE_UP_MS) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const exchanges = new Exchanges({
  latest: (site) => last.sites[site].requests,
  read: (site, number) => ask(`sites/${encodeURIComponent(site)}/requests/${number}`),
});

const actions = {
  async setFault(site, fault) {
    try {
      await ask(`sites/${encodeURIComponent(site)}/fault`, { method: "PUT", body: JSON.stringify(fault) });
      problem = "";
    } catch (error) {
      problem = `The switch of ${site} could not be set: ${error.message}`;
      say(problem);
    }
  },
  openExchanges: (site) => exchanges.open(site),
};

function say(text) {
  setText(banner, text);
  banner.hidden = !text;
}

function show(state) {
  if ((state.run?.started ?? null) !== started) forget(state.run?.started ?? null);
  last = state;
  const connectors = state.run ? state.run.connectors : Object.entries(state.sites).map(alone);
  for (const connector of connectors) {
    if (!cards.has(connector.name)) add(connector);
    const isStarting = state.run?.phase === "starting";
    cards.get(connector.name).show(connector, state.sites[connector.site], state.now, isStarting);
  }
  if (state.run) showRun(state.run, state.now);
  else setText(phase, "Partners only: no run is watched");
}

// Another run: nothing of the one before is its own.
function forget(of) {
  started = of;
  newsShown = 0;
  newsList.replaceChildren();
  cardsSection.replaceChildren();
  cards.clear();
}

function add(connector) {
  const card = new Card(connector, actions);
  cards.set(connector.name, card);
  cardsSection.append(card.root);
}

function alone([name, { kind }]) {
  const nothing = { held: 0, lanes: [], counts: null, delivered: [], holding: [], states: "" };
  return { name, kind, site: name, state: "unknown", ...nothing };
}

function showRun(run, now) {
  document.body.dataset.phase = run.phase;
  const code = run.exit_code === null ? "" : `, exit code ${run.exit_code}`;
  const invalid = run.invalid ? `, ${count(run.invalid)} of them invalid` : "";
  const published = `${count(run.published)} messages published in ${duration(now - run.started)}`;
  setText(phase, `${PHASES[run.phase]}${code}. ${published}${invalid}.`);
  showBooks(run);
  showNews(run.news);
}

function showBooks({ connectors, reported }) {
  if (!reported) return;
  const sum = (of) => connectors.reduce((all, { counts }) => all + (counts ? of(counts) : 0), 0);
  const inAll = (counts) => Object.values(counts).reduce((all, number) => all + number, 0);
  const owed = sum((counts) => counts.offered + counts.adopted);
  const fates = [
    ["delivered", sum((counts) => counts.delivered)],
    ["filtered", sum((counts) => inAll(counts.filtered))],
    ["dead letters", sum((counts) => inAll(counts.dead))],
    ["held", sum((counts) => counts.held)],
  ];
  const onTheirWay = owed - fates.reduce((all, [, number]) => all + number, 0);
  books.show([
    ["offered", count(owed)],
    ...fates.map(([name, number]) => [name, count(number)]),
    ["on their way", count(onTheirWay)],
  ]);
}

function showNews(news) {
  for (const item of news) {
    if (item.number <= newsShown) continue;
    newsShown = item.number;
    const line = document.createElement("li");
    line.dataset.what = item.what;
    const time = document.createElement("time");
    time.dateTime = new Date(item.at).toISOString();
    setText(time, timeOfDay(item.at));
    const who = document.createElement("b");
    setText(who, item.connector ?? "");
    line.append(time, " ", who, " ", newsInWords(item));
    newsList.prepend(line);
  }
}

async function follow() {
  const state = await ask("state").catch(() => null);
  setTimeout(follow, POLL_MS);
  if (state) {
    delete document.body.dataset.stale;
    show(state);
  } else {
    document.body.dataset.stale = "true";
  }
  say(standing(state));
}

// What stands above all; of what is gone, how it ended.
function standing(state) {
  const run = (state ?? last)?.run;
  if (run?.phase === "ended") {
    const books = run.balanced ? ", and the books balance" : "";
    return `The pipeline has ended${books}.${state ? "" : " The sandbox is gone; this was the end of it."}`;
  }
  if (!state) return "The sandbox does not answer: it has ended, or starts anew. This page goes on when it is there.";
  return problem;
}

follow();
