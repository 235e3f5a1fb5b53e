// Runs page.js with a page, a server and a stream that are made up here: `node page.test.js`.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const elements = new Map();
const part = () => ({
  addEventListener() {}, append() {}, prepend() {}, replaceChildren() {}, setAttribute() {},
  options: [], rows: [], value: "", textContent: "",
});
const byId = (id) => {
  if (!elements.has(id)) elements.set(id, part());
  return elements.get(id);
};

const streams = [];
class EventSource {
  constructor() {
    this.kinds = new Map();
    this.readyState = 0;
    streams.push(this);
  }
  addEventListener(kind, heard) { this.kinds.set(kind, heard); }
  send(event) { this.kinds.get(event.kind)({ data: JSON.stringify(event) }); }
  open() {
    this.readyState = 1;
    return this.onopen();
  }
  fail(readyState) {
    this.readyState = readyState;
    this.onerror();
  }
}
EventSource.CLOSED = 2;

const event = (id, process = 0) => ({ id, time: `2026-01-0${process + 1}T00:00:0${id}Z`, kind: "pop", message: `${process}/${id}` });
let kept = [event(1), event(2)];
let beforeList = () => {};
const timers = [];
const context = vm.createContext({
  EventSource, URLSearchParams, Node: class {}, performance, console,
  document: { getElementById: byId, createElement: part, createElementNS: part },
  setTimeout: (work, time) => timers.push({ work, time }),
  fetch: async (url) => {
    if (!url.startsWith("/api/v1/events")) throw new Error("not asked here");
    const list = kept.slice();
    beforeList();
    return { ok: true, json: async () => list };
  },
});
vm.runInContext(fs.readFileSync(path.join(__dirname, "page.js"), "utf8"), context);
const told = [];
context.showEvent = (one) => told.push(one.message);
const settled = () => new Promise((done) => setImmediate(done));

(async () => {
  assert.equal(streams.length, 1, "the stream comes first");
  // One event comes by the stream and in the list, one while the list is on its way.
  kept.push(event(3));
  streams[0].send(event(3));
  beforeList = () => streams[0].send(event(4));
  await streams[0].open();
  assert.deepEqual(told.splice(0), ["0/1", "0/2", "0/3", "0/4"]);
  beforeList = () => {};
  streams[0].send(event(5));
  assert.deepEqual(told.splice(0), ["0/5"]);

  // Lost and found again, with another process of the server.
  streams[0].fail(0);
  assert.match(byId("unheard").textContent, /lost/);
  kept = [event(1, 1), event(2, 1)];
  await streams[0].open();
  assert.equal(byId("unheard").textContent, "");
  streams[0].send(event(2, 1));
  assert.deepEqual(told.splice(0), ["1/1", "1/2"]);

  // Refused: it is said, the list is looked at, and it is tried again.
  kept.push(event(3, 1));
  timers.length = 0;
  streams[0].fail(2);
  await settled();
  assert.match(byId("unheard").textContent, /not follow/);
  assert.deepEqual(told.splice(0), ["1/3"]);
  assert.equal(timers.length, 1);
  timers[0].work();
  assert.equal(streams.length, 2);
  await streams[1].open();
  assert.equal(byId("unheard").textContent, "");
  assert.deepEqual(told, []);
})().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
