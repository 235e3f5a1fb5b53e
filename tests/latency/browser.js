// The beacon's script in a made-up browser: node browser.js FILE
"use strict";
const assert = require("node:assert");
const vm = require("node:vm");
const text = require("node:fs").readFileSync(process.argv[2], "utf8");

// Runs the script and gives what was sent when everything that it started has ended.
async function view(options) {
  const sent = [], requests = [], entries = {}, listeners = {};
  let open = 0, turn = 0;
  const later = (work) => { open += 1; setImmediate(() => { try { work(); } finally { open -= 1; } }); };
  const on = (name, work) => { listeners[name] = work; };
  const document = {
    currentScript: options.noScript ? null : { src: "https://m.example/latency/beacon.js?v=1" },
    readyState: options.loading ? "loading" : "complete",
    visibilityState: "visible",
    addEventListener: on,
  };
  const navigator = {
    sendBeacon: (to, body) => { sent.push(["beacon", to, body]); return !options.beaconFails; },
    connection: { saveData: !!options.saveData },
    globalPrivacyControl: !!options.gpc,
  };
  const fetch = (url, request) => {
    if (request.method === "POST") {
      assert.equal(request.keepalive, true);
      sent.push(["fetch", url, request.body]);
      return Promise.resolve();
    }
    requests.push(url);
    assert.deepEqual([request.mode, request.credentials, request.cache], ["no-cors", "omit", "no-store"]);
    const host = new URL(url).hostname;
    if (host === options.broken) { return Promise.reject(new Error("no route")); }
    const first = !requests.slice(0, -1).some((other) => new URL(other).hostname === host);
    const slow = first ? 40 : 0;
    const rtt = { "fra.example.com": 12, "iad.example.com": 95 }[host] || 50;
    entries[url] = [options.noTiming
      ? { connectStart: 0, secureConnectionStart: 0, requestStart: 0, responseStart: 0 }
      : { nextHopProtocol: "h2", connectStart: first ? 5 : 1, secureConnectionStart: first ? 5 + rtt + 1 : 0,
          requestStart: 100, responseStart: 100 + rtt + slow }];
    if (options.hideAfter && requests.length === options.hideAfter) {
      later(() => { document.visibilityState = "hidden"; listeners.visibilitychange(); listeners.pagehide(); });
    }
    open += 1;
    return Promise.resolve().finally(() => { open -= 1; });
  };
  const random = () => { turn += 1; return turn === 1 ? options.draw : ((turn * 37) % 100) / 100; };
  const window = { performance: true, fetch, URL, AbortController, addEventListener: on };
  const performance = { getEntriesByName: (name) => entries[name] || [] };
  const math = Object.create(Math, { random: { value: random }, min: { value: Math.min },
    round: { value: Math.round }, floor: { value: Math.floor } });
  vm.runInNewContext(options.text || text, { window, document, navigator, performance, fetch, URL,
    AbortController, setTimeout: later, clearTimeout: () => {}, Math: math });
  if (options.loading) {
    assert.equal(requests.length, 0, "nothing is measured before the page is there");
    listeners.load();
  }
  do { await new Promise((done) => setImmediate(done)); } while (open > 0);
  for (let i = 0; i < 20; i += 1) { await new Promise((done) => setImmediate(done)); }
  if (listeners.pagehide) { listeners.pagehide(); }
  return { sent, requests };
}

(async () => {
  const to = "https://m.example/latency/beacon";
  const all = await view({ draw: 0 });
  assert.deepEqual(all.sent.map((one) => one.slice(0, 2)), [["beacon", to]]);
  assert.deepEqual(JSON.parse(all.sent[0][2]), { fra: 12, iad: 95 });
  assert.equal(all.requests.length, 6);
  assert.equal(new Set(all.requests).size, 6, "no request is answered from a cache");

  for (const quiet of [{ draw: 0.99 }, { draw: 0, saveData: true }, { draw: 0, gpc: true },
    { draw: 0, noScript: true }]) {
    const nothing = await view(quiet);
    assert.deepEqual([nothing.sent, nothing.requests], [[], []]);
  }
  const loading = await view({ draw: 0, loading: true });
  assert.equal(loading.sent.length, 1);
  const blind = await view({ draw: 0, noTiming: true });
  assert.deepEqual(blind.sent, [], "without Timing-Allow-Origin nothing is told");
  const half = await view({ draw: 0, broken: "iad.example.com" });
  assert.deepEqual(JSON.parse(half.sent[0][2]), { fra: 12 });
  const left = await view({ draw: 0, hideAfter: 4 });
  assert.equal(left.sent.length, 1, "who leaves tells once");
  assert.equal(Object.keys(JSON.parse(left.sent[0][2])).length, 1);
  const refused = await view({ draw: 0, beaconFails: true });
  assert.deepEqual(refused.sent.map((one) => one[0]), ["beacon", "fetch"]);
  const names = "abcdefghij".split("").map((name) => [name, `https://${name}.example.com/t?x=1`]);
  const many = text.replace(/var urls = .*;/, `var urls = ${JSON.stringify(Object.fromEntries(names))};`);
  const some = await view({ draw: 0, text: many });
  assert.equal(Object.keys(JSON.parse(some.sent[0][2])).length, 4);
  assert.ok(some.requests.every((url) => url.includes("?x=1&m=")));
  console.log("ok");
})();
