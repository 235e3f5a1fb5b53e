// Measures round trips from this browser to a few PoPs, in a small share of page views, and tells the
// server of this script. It reads nothing else of the page or of the browser, and stores nothing.
(function () {
  "use strict";
  var share = __SHARE__;
  var urls = __URLS__;
  var most = 4;       // PoPs measured in one page view
  var rounds = 3;     // requests to each: the first opens the connection
  var patience = 5000; // milliseconds for one request

  var script = document.currentScript;
  var connection = navigator.connection || {};
  if (!script || !script.src || !window.performance || !performance.getEntriesByName ||
      !window.fetch || !window.URL || Math.random() >= share ||
      connection.saveData || navigator.globalPrivacyControl) {
    return;
  }
  var to = new URL("beacon", script.src).href;
  var measured = {};
  var told = false;

  // The round trip that an entry of Resource Timing shows, in milliseconds: the TCP handshake, where
  // it opened a connection with TLS; else the time from the request to the first octet of the answer.
  // Without Timing-Allow-Origin the browser shows zeroes: nothing.
  function roundTrip(entry) {
    var best = Infinity;
    if (entry.secureConnectionStart > entry.connectStart && entry.connectStart > 0 &&
        String(entry.nextHopProtocol).indexOf("h3") !== 0) {
      best = entry.secureConnectionStart - entry.connectStart;
    }
    if (entry.responseStart > entry.requestStart && entry.requestStart > 0) {
      best = Math.min(best, entry.responseStart - entry.requestStart);
    }
    return best;
  }

  function measure(name, round, done) {
    if (told || round === rounds) {
      return done();
    }
    var url = urls[name] + (urls[name].indexOf("?") < 0 ? "?" : "&") + "m=" +
      Math.random().toString(36).slice(2);
    var controller = window.AbortController ? new AbortController() : null;
    var timer = setTimeout(function () {
      if (controller) { controller.abort(); }
    }, patience);
    fetch(url, {
      mode: "no-cors", credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer",
      signal: controller ? controller.signal : undefined
    }).then(function () {
      clearTimeout(timer);
      // The entry is there soon after the answer.
      setTimeout(function () {
        performance.getEntriesByName(url).forEach(function (entry) {
          var ms = roundTrip(entry);
          if (ms < Infinity) {
            ms = Math.round(ms * 10) / 10;
            measured[name] = Math.min(ms, measured[name] || ms);
          }
        });
        measure(name, round + 1, done);
      }, 50);
    }, function () {
      clearTimeout(timer);
      done();
    });
  }

  function tell() {
    if (told || !Object.keys(measured).length) {
      return;
    }
    told = true;
    var body = JSON.stringify(measured);
    // A string is sent as text/plain: no preflight, and it outlives the page.
    if (!navigator.sendBeacon || !navigator.sendBeacon(to, body)) {
      fetch(to, { method: "POST", body: body, mode: "no-cors", keepalive: true,
        credentials: "omit" }).catch(function () {});
    }
  }

  function some(names) {
    for (var i = names.length - 1; i > 0; i--) {
      var j = Math.floor(Math.random() * (i + 1));
      var name = names[i];
      names[i] = names[j];
      names[j] = name;
    }
    return names.slice(0, most);
  }

  function start() {
    var names = some(Object.keys(urls));
    (function next() {
      var name = names.shift();
      if (told || !name) {
        return tell();
      }
      measure(name, 0, next);
    })();
  }

  // After everything that the page itself loads.
  function later() {
    setTimeout(start, 2000);
  }
  document.addEventListener("visibilitychange", function () {
    if (document.visibilityState === "hidden") { tell(); }
  });
  window.addEventListener("pagehide", tell);
  if (document.readyState === "complete") { later(); } else { window.addEventListener("load", later); }
})();
