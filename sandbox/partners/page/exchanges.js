// The dialog that shows what was sent to a partner, and what it answered.

import { setText } from "./card.js";
import { answerOf, events, hasFailed, size, timeOfDay } from "./words.js";

const dialog = document.getElementById("exchanges");
const title = document.getElementById("exchanges-title");
const list = document.getElementById("exchanges-list");
const detail = document.getElementById("exchange");

export class Exchanges {
  // `latest(site)` gives the requests as last heard; `read(site, number)` promises one of them.
  constructor({ latest, read }) {
    this.latest = latest;
    this.read = read;
    document.getElementById("exchanges-newest").addEventListener("click", () => this.list());
    document.getElementById("exchanges-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  open(site) {
    this.site = site;
    setText(title, `${site}: the last requests, and those that failed`);
    dialog.showModal();
    this.list();
  }

  // What is listed stays as it is, or nobody could point at it.
  list() {
    const requests = this.latest(this.site);
    list.replaceChildren(...requests.map((request) => this.item(request)));
    detail.replaceChildren(...(requests.length ? [] : [paragraph("No request has come yet.")]));
    list.querySelector("button")?.click();
  }

  item(request) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.failed = hasFailed(request);
    const answer = element("b", answerOf(request));
    const feed = request.feed ? `, ${request.feed}` : "";
    const what = element("span", `${timeOfDay(request.at)}, ${events(request.events)}${feed}`);
    button.append(answer, what);
    button.addEventListener("click", () => this.choose(button, request));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  async choose(button, request) {
    for (const other of list.querySelectorAll("button")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    this.chosen = request.number;
    const exchange = await this.read(this.site, request.number).catch(() => null);
    if (this.chosen !== request.number) return;
    detail.scrollTop = 0;
    detail.replaceChildren(
      ...(exchange ? shown(exchange) : [paragraph("This request is not remembered any more.")]),
    );
  }
}

function shown(exchange) {
  const query = Object.entries(exchange.query).map(([name, value]) => `${name}=${value}`).join("&");
  const address = query ? `${exchange.path}?${query}` : exchange.path;
  return [
    element("h3", "Sent"),
    element("p", `${exchange.method} ${address || "/"}`, "address"),
    headers(exchange.headers),
    body(exchange.body, `Body: ${events(exchange.events)}, ${size(exchange.body_bytes)}`),
    element("h3", "Answered"),
    element("p", answerOf(exchange), "address"),
    ...(exchange.answer
      ? [headers(exchange.answer.headers), body(exchange.answer.body, "Body")]
      : []),
  ];
}

function headers(fields) {
  const made = document.createElement("dl");
  made.className = "headers";
  for (const [name, value] of Object.entries(fields)) {
    made.append(element("dt", name), element("dd", value));
  }
  return made;
}

function body(text, heading) {
  const made = document.createElement("div");
  made.append(element("h4", heading), element("pre", text === null ? "not kept" : text || "empty"));
  return made;
}

const paragraph = (text) => element("p", text);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
