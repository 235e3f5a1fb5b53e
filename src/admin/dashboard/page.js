// Shows what the admin API says. Nothing that comes from the server is ever read as HTML.
"use strict";

const LEVELS = ["measurement", "distance", "order of the list", "last resort"];
// Each kind of event is a name of its own in the stream.
const KINDS = ["started", "stopping", "endpoint", "pop", "failover", "steering", "override", "reload",
  "reload_refused", "announcement", "peer", "upgrade", "anomaly", "alarm"];
const EVENTS = 60;
const byId = (id) => document.getElementById(id);

function element(tag, text, classes) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function row(cells, classes) {
  const made = element("tr", null, classes);
  for (const cell of cells) {
    if (cell instanceof Node) made.append(cell);
    else if (Array.isArray(cell)) made.append(element("td", cell[0], cell[1]));
    else made.append(element("td", cell));
  }
  return made;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 120) return Math.round(seconds) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  if (seconds < 172800) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " d";
}

const ago = (time) => (time ? duration((Date.now() - Date.parse(time)) / 1000) : "–");
const number = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1));
const milliseconds = (value) => (value === null || value === undefined ? "–" : value.toFixed(1));

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (answer.ok) return answer;
  const refusal = await answer.json().catch(() => ({}));
  throw new Error([refusal.error || "the server answered " + answer.status, refusal.help].filter(Boolean).join("; "));
}

// Counters: answers by PoP and all queries, as rates between two looks.
const counters = { at: 0, pops: new Map(), queries: 0 };
let rates = { pops: new Map(), queries: null, sum: 0 };

function count(text) {
  const pops = new Map();
  let queries = 0;
  for (const line of text.split("\n")) {
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (line.startsWith("meridian_queries_total{")) queries += value;
    if (!line.startsWith("meridian_answers_total{")) continue;
    const pop = /[{,]pop="([^"]*)"/.exec(line);
    if (pop) pops.set(pop[1], (pops.get(pop[1]) || 0) + value);
  }
  const now = performance.now() / 1000;
  const passed = now - counters.at;
  if (counters.at > 0 && passed > 0) {
    const rate = (value, before) => Math.max(0, value - (before || 0)) / passed;
    rates = { pops: new Map(), queries: rate(queries, counters.queries), sum: 0 };
    for (const [pop, value] of pops) {
      const one = rate(value, counters.pops.get(pop));
      rates.pops.set(pop, one);
      rates.sum += one;
    }
  }
  Object.assign(counters, { at: now, pops, queries });
}

const share = (pop) => (rates.sum > 0 ? (rates.pops.get(pop) || 0) / rates.sum : 0);
const states = new Set(["up", "down", "drained", "unknown"]);
const stateClass = (state) => (states.has(state) ? state : "unknown");

function showServer(status) {
  const config = status.config;
  byId("server").textContent = `${status.version}, up ${ago(status.started)}, ${config.file}, read ${ago(config.loaded)} ago`;
  byId("rate").textContent = rates.queries === null ? "" : number(rates.queries) + " queries/s";
  const alarms = status.alarms.slice();
  if (config.refused) alarms.unshift("The last reload was refused: " + config.refused);
  if (config.last_good) alarms.unshift("Running from the last good state: the files cannot be used.");
  const list = byId("alarms");
  list.replaceChildren(...alarms.map((alarm) => element("li", alarm)));
  list.hidden = alarms.length === 0;
}

function load(pop) {
  const cell = element("td");
  if (!pop.load) return cell;
  if (typeof pop.load.ratio === "number") {
    const meter = element("meter");
    Object.assign(meter, { min: 0, max: 1.2, low: 0.7, high: 1, optimum: 0, value: Math.min(pop.load.ratio, 1.2) });
    cell.append(meter, Math.round(pop.load.ratio * 100) + " %");
  }
  if (pop.load.state !== "fresh") cell.append(" " + pop.load.state);
  cell.title = [pop.load.what, pop.load.source, pop.load.problem].filter(Boolean).join("\n");
  return cell;
}

function showPops(pops) {
  const wanted = byId("filter").value.trim().toLowerCase();
  const troubled = (pop) => (pop.state === "up" ? 1 : 0);
  const shown = pops.filter((pop) => (pop.name + " " + pop.state).toLowerCase().includes(wanted));
  shown.sort((a, b) => troubled(a) - troubled(b) || a.name.localeCompare(b.name));
  byId("pops").replaceChildren(...shown.map((pop) => {
    const why = pop.override ? `${pop.override.kind}: ${pop.override.reason || "no reason given"}` : pop.reason;
    return row([
      pop.name,
      [pop.state, stateClass(pop.state)],
      [ago(pop.override ? pop.override.since : pop.since), "faint"],
      [number(rates.pops.get(pop.name) || 0), "n"],
      [(share(pop.name) * 100).toFixed(1) + " %", "n"],
      load(pop),
      [why, "faint"],
    ]);
  }));
}

function showMap(pops) {
  const names = pops.length <= 80;
  const drawn = [];
  for (const pop of pops) {
    const make = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
    const dot = make("circle");
    const x = pop.longitude < -170 ? pop.longitude + 360 : pop.longitude;
    const radius = 1.3 + 5 * Math.sqrt(share(pop.name));
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", -pop.latitude);
    dot.setAttribute("r", radius.toFixed(2));
    dot.setAttribute("class", stateClass(pop.state));
    const title = make("title");
    title.textContent = `${pop.name}: ${pop.state}, ${pop.reason}`;
    dot.append(title);
    drawn.push(dot);
    if (!names && pop.state === "up") continue;
    const label = make("text");
    label.setAttribute("x", x + radius + 0.6);
    label.setAttribute("y", -pop.latitude + 1.1);
    label.textContent = pop.name;
    drawn.push(label);
  }
  byId("dots").replaceChildren(...drawn);
}

function showServices(services) {
  byId("services").replaceChildren(...services.map((one) => row([
    one.name,
    one.pool,
    LEVELS[one.level] || String(one.level),
    [duration(one.shift_bound_s), "n"],
    [duration(one.shift_last_s), "n"],
  ])));
  const select = byId("name");
  const known = Array.from(select.options, (option) => option.value);
  const names = services.map((one) => one.name);
  if (known.join() === names.join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => element("option", name)));
  if (names.includes(chosen)) select.value = chosen;
}

function showSite(site) {
  const prefixes = (site && site.prefixes) || [];
  byId("site").hidden = prefixes.length === 0;
  byId("prefixes").replaceChildren(...prefixes.map((one) => row([one.prefix, one.stage, [one.refusal || one.why, "faint"]])));
}

async function explain(event) {
  event.preventDefault();
  const query = new URLSearchParams({ name: byId("name").value, type: byId("type").value, client: byId("client").value.trim() });
  try {
    const told = await (await get("/api/v1/explain?" + query)).json();
    const answer = told.addresses.join(", ") || "nothing";
    byId("said").textContent = `${answer}, TTL ${told.ttl} s, scope ${told.scope_why}`;
    byId("scores").replaceChildren(...told.candidates.map((one) => row([
      one.pop,
      [milliseconds(one.score_ms), "n"],
      [milliseconds(one.terms.distance_ms), "n"],
      [milliseconds(one.terms.latency_ms), "n"],
      one.terms.latency_from,
      [milliseconds(one.terms.load_ms), "n"],
      [one.why, "faint"],
    ], one.chosen ? "chosen" : "")));
    byId("candidates").hidden = false;
  } catch (problem) {
    byId("said").textContent = problem.message;
    byId("candidates").hidden = true;
  }
}

function showEvent(event) {
  const at = new Date(event.time);
  const today = at.toDateString() === new Date().toDateString();
  const time = element("td", today ? at.toLocaleTimeString() : at.toLocaleString(), "faint");
  time.title = event.time;
  const list = byId("events");
  list.prepend(row([time, [event.kind, "faint"], event.message]));
  while (list.rows.length > EVENTS) list.lastChild.remove();
}

// What has been shown. Ids begin anew with each process of the server, so the time belongs to them.
const shown = new Set();

function tell(event) {
  const key = event.time + " " + event.id;
  if (shown.has(key)) return;
  shown.add(key);
  // The server keeps a thousand events; what it no longer knows cannot come again.
  if (shown.size > 2000) shown.delete(shown.values().next().value);
  showEvent(event);
}

async function tellRecent() {
  const recent = await (await get("/api/v1/events?follow=false")).json();
  recent.slice(-EVENTS).forEach(tell);
}

// The stream first, then the list: what happens in between comes by both, and is told once.
function follow() {
  const stream = new EventSource("/api/v1/events");
  let waiting = [];
  const heard = (message) => {
    const event = JSON.parse(message.data);
    if (waiting) waiting.push(event);
    else tell(event);
  };
  for (const kind of KINDS) stream.addEventListener(kind, heard);
  stream.onopen = async () => {
    waiting = waiting || [];
    let problem = "";
    await tellRecent().catch((error) => { problem = "Earlier events are missing: " + error.message; });
    byId("unheard").textContent = problem;
    (waiting || []).forEach(tell);
    waiting = null;
  };
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) {
      byId("unheard").textContent = "The connection is lost; trying again.";
      return;
    }
    // Refused: the browser does not try again by itself, and does not say why.
    byId("unheard").textContent = "The server lets this page not follow (32 may at the same time); looking every 10 s.";
    tellRecent().catch(() => {});
    setTimeout(follow, 10000);
  };
}

let latest = null;

function show(status) {
  latest = status;
  showServer(status);
  showPops(status.pops);
  showMap(status.pops);
  showServices(status.services);
  showSite(status.announcements);
}

async function look() {
  let wait = 2000;
  try {
    const [status, metrics] = await Promise.all([get("/api/v1/status"), get("/metrics")]);
    count(await metrics.text());
    show(await status.json());
    // A large world is looked at less often: nobody reads a thousand rows every two seconds.
    if (latest.pops.length > 100) wait = 10000;
  } catch (problem) {
    byId("server").textContent = "The server does not answer: " + problem.message;
  }
  setTimeout(look, wait);
}

byId("ask").addEventListener("submit", explain);
byId("filter").addEventListener("input", () => latest && showPops(latest.pops));
look();
follow();
