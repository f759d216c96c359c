// How the feed stands, in words: the status bar, and when what is drawn must not be taken for the present.

import {element, setText} from "./dom.mjs";
import {sizeText, speedText} from "./units.mjs";

const QUIET_S = 3; // without a message: not yet stale, but to be known
const SILENCE_MS = 800; // with a tick: within a second

// Whether the picture is old, since when (ms) and why. `nowMs` and `frameMs` are the browser's own clock.
export function staleness({nowMs, frameMs, meta, header, status, connected, hidden, staleMs}) {
  if (!connected) return {word: "NO CONNECTION", since: frameMs, reason: "connection to the server lost"};
  if (!meta || frameMs === null) return null;
  if (header.flags?.stale || status.state === "lost") {
    const word = {reconnecting: "RECONNECTING", lost: "LOST"}[status.state] ?? "STALE";
    return {word, since: staleMs ?? nowMs, reason: status.reason || "the feed has stopped"};
  }
  const streams = status.state !== "ended" && (meta.source === "live" || header.playing);
  if (streams && !hidden && nowMs - frameMs > SILENCE_MS) {
    return {word: "STALE", since: frameMs, reason: "nothing comes from the server"};
  }
  return null;
}

export function staleText(stale, nowMs) {
  return `${stale.word} ${Math.max(0, Math.floor((nowMs - stale.since) / 1000))} s: ${stale.reason}`;
}

const STATES = {
  live: "● live", stale: "▲ stale", reconnecting: "↻ reconnecting", replay: "▶ replay", paused: "‖ paused",
  ended: "■ ended", lost: "✕ lost",
};

const triple = (values, unit) => values.map((v) => (v < 10 ? v.toFixed(1) : v.toFixed(0))).join(" / ") + " " + unit;

// [testid, label, text, tone] of every part of the bar that has something to say.
export function partsOf({model, stale, quietS = 0, lagMs, fps, drawMs}) {
  const {header, meta, status} = model;
  const parts = [];
  const say = (id, label, text, tone = "") => parts.push([id, label, text, tone]);
  const state = stale ? stale.word.toLowerCase() : (STATES[status.state] ?? "waiting");
  say("state", "", state, stale ? "error" : status.state === "live" || status.state === "replay" ? "good" : "");
  if (meta?.source === "live" && !stale && quietS >= QUIET_S) say("quiet", "", `no message for ${Math.floor(quietS)} s`, "warn");
  if (meta?.controls?.speed) say("speed", "speed", speedText(header.speed));
  if (!header.record) say("synced", "", "no book yet");
  else if (!header.flags.synced) say("synced", "", "partial book: began mid-session", "warn");
  else say("synced", "", "book complete");
  if (header.flags.suspect) say("suspect", "", "suspect: the venue's channel had a gap", "warn");
  if (header.flags.crossed) say("crossed", "", "crossed", "warn");
  if (meta?.simulated) say("simulated", "", "simulated data");
  if (meta?.tick_inferred) say("tick", "tick", `${model.ticks.step} inferred`);
  if (status.rate !== undefined && status.rate !== null) say("rate", "feed", sizeText(Math.round(status.rate)) + " msg/s");
  say("gaps", "gaps", "" + (status.gaps ?? 0), status.gaps ? "warn" : "");
  const anomalies = Object.entries(status.anomalies ?? {});
  const broken = anomalies.reduce((sum, [, count]) => sum + count, 0);
  say("anomalies", "anomalies", sizeText(broken), broken ? "warn" : "");
  parts.at(-1)[4] = anomalies.map(([rule, count]) => `${rule}: ${count}`).join("\n");
  if (status.reconnects) say("reconnects", "reconnects", "" + status.reconnects, "warn");
  if (status.orders !== undefined) say("orders", "orders", sizeText(status.orders));
  if (status.apply_us) say("apply", "apply p50/99/99.9", triple(status.apply_us, "µs"));
  if (status.latency_us) say("latency", "feed latency p50/99/99.9", triple(status.latency_us, "µs"));
  if (status.server_ms !== undefined) say("server", "server", status.server_ms.toFixed(1) + " ms");
  if (status.sessions > 1) say("sessions", "viewers", "" + status.sessions);
  say("lag", "lag", lagMs === null ? "–" : Math.round(lagMs) + " ms", lagMs > 250 ? "warn" : "");
  say("fps", "draw", `${Math.round(fps)} fps ${drawMs.toFixed(1)} ms`);
  return parts;
}

export class StatusBar {
  constructor() {
    this.time = element("b", {testid: "status-time"});
    this.parts = element("div", {className: "parts"});
    this.node = element("footer", {label: "Status", testid: "status", role: "group"}, [this.time, this.parts]);
    this.nodes = new Map();
  }

  update(model, parts) {
    const {clock, header, meta} = model;
    setText(this.time, meta ? `${clock.date(header.now)} ${clock.text(header.now)} UTC` : "waiting for the server");
    const seen = new Set();
    for (const [id, label, text, tone, title] of parts) {
      seen.add(id);
      let part = this.nodes.get(id);
      if (!part) this.nodes.set(id, (part = this.make(id)));
      setText(part.label, label ? label + " " : "");
      setText(part.value, text);
      if (part.node.dataset.tone !== tone) part.node.dataset.tone = tone;
      if (title !== undefined && part.node.title !== title) part.node.title = title;
    }
    for (const [id, {node}] of this.nodes) node.hidden = !seen.has(id);
    const order = parts.map(([id]) => this.nodes.get(id).node);
    if (order.some((node, i) => this.parts.children[i] !== node)) this.parts.prepend(...order);
  }

  make(id) {
    const label = element("span", {className: "label"});
    const value = element("span", {className: "value"});
    return {label, value, node: element("span", {testid: "status-" + id}, [label, value])};
  }
}

// The book's top as a sentence, for those who do not see the canvas.
export function bookText(model) {
  const {bbo, last} = model.header;
  if (!model.meta) return "No book yet.";
  const side = (word, [tick, size, count]) =>
    tick === null ? `no ${word}` : `${word} ${model.ticks.text(tick)}, ${size} in ${count} ${count === 1 ? "order" : "orders"}`;
  const aggressor = last && (last[2] > 0 ? "bought" : last[2] < 0 ? "sold" : "traded");
  const trade = last ? `; last ${last[1]} ${aggressor} at ${model.ticks.text(last[0])}` : "";
  return `${model.meta.symbol}: ${side("bid", bbo.slice(0, 3))}; ${side("ask", bbo.slice(3))}${trade}.`;
}
