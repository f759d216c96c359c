// The component's frame: where the panels stand, their headings, the band over an old picture, the toasts.

import {element, setText} from "./dom.mjs";
import {sizeText} from "./units.mjs";

const TOAST_MS = {info: 4000, warning: 7000, error: 12_000};

function panel(testid, title, extras = []) {
  const host = element("div", {className: "host"});
  const heading = element("h2", {text: title});
  const end = element("span", {className: "end"}, extras);
  const node = element("section", {className: "panel", label: title, "data-testid": "panel-" + testid}, [
    element("header", {}, [heading, end]), host,
  ]);
  return {node, host, heading, end};
}

const amount = (testid, label, options) => element("input", {type: "number", testid, label, ...options});
const small = (testid, label, text, run, options = {}) =>
  element("button", {type: "button", testid, label, title: label, text, on: {click: run}, ...options});

export class Shell {
  constructor(root, actions, toolbar, status) {
    this.root = root;
    const set = (name) => ({
      change: (event) => this.setNumber(name, event.target, actions),
      keydown: (event) => event.key === "Enter" && this.finish(name, event.target, actions),
    });
    this.legend = element("span", {className: "legend", "aria-hidden": "true"});
    this.low = amount("heat-low", "Size at which colours begin", {min: 1, max: 1000000, on: set("heat_low")});
    this.high = amount("heat-high", "Size of the brightest colour; empty: as the sizes are", {
      min: 0, max: 1000000, placeholder: "auto", on: set("heat_high"),
    });
    this.heat = panel("heat", "HEATMAP", [
      element("label", {}, ["from", this.low]), this.legend, element("label", {}, ["to", this.high]),
      small("zoom-in", "Nearer in time (Z)", "+", () => actions.zoom(-1)),
      small("zoom-out", "Farther in time (X)", "−", () => actions.zoom(1)),
      small("present", "Back to the present (F)", "now", () => actions.present()),
    ]);
    this.windows = element("span", {testid: "windows"});
    this.sums = small("sums", "Cumulative depth (V)", "Σ", () => actions.sums(), {"aria-pressed": "false"});
    this.ladder = panel("ladder", "LADDER", [
      this.windows, this.sums, small("clear", "Clear the recent trades (C)", "clear recent", () => actions.clear()),
    ]);
    this.tapeMin = amount("tape-min", "Smallest trade on the tape", {min: 1, max: 1000000000, on: set("tape_min")});
    this.tape = panel("tape", "TIME & SALES", [element("label", {}, ["size ≥", this.tapeMin])]);
    this.depthText = element("span");
    this.depth = panel("depth", "DEPTH", [this.depthText]);
    this.queueText = element("span", {testid: "queue-text"});
    this.letGo = small("queue-close", "Let go of this price (Esc)", "✕", () => actions.select(null, null));
    this.queue = panel("queue", "QUEUE", [this.queueText, this.letGo]);
    this.band = element("div", {className: "band", role: "alert", testid: "stale", hidden: true});
    this.toasts = element("div", {className: "toasts", role: "status", "aria-live": "polite", testid: "notices"});
    this.text = element("p", {className: "unseen", testid: "book-text", "aria-live": "off"});
    const side = element("div", {className: "side"}, [this.tape.node, this.depth.node, this.queue.node]);
    this.body = element("div", {className: "body"}, [this.heat.node, this.ladder.node, side]);
    root.append(toolbar.node, this.body, status.node, this.band, this.toasts, this.text);
  }

  setNumber(name, input, actions) {
    const value = input.value === "" ? 0 : Math.round(Number(input.value));
    const least = name === "heat_high" ? 0 : 1;
    actions.set(name, Number.isFinite(value) ? Math.max(least, Math.min(1e9, value)) : least);
  }

  finish(name, input, actions) {
    this.setNumber(name, input, actions);
    actions.board.root.focus();
  }

  // Headings and the numbers of the small fields.
  update(board, depth) {
    const {model, settings, selected, colours, heat} = board;
    const active = board.active();
    const {heat_low: low, heat_high: high, tape_min: least} = settings;
    for (const [input, value] of [[this.low, low], [this.high, high || ""], [this.tapeMin, least]]) {
      if (input !== active && input.value !== String(value)) input.value = value;
    }
    const gradient = `linear-gradient(90deg, ${colours.heat.join(", ")})`;
    if (this.gradient !== gradient) this.legend.style.background = this.gradient = gradient;
    this.high.placeholder = heat.range ? String(heat.brightSize) : "auto";
    this.sums.setAttribute("aria-pressed", String(settings.sums));
    const [changes, recent] = model.header.window_s ?? [null, null];
    const grown = changes < 1 ? "± not yet" : `± in ${Math.round(changes)} s`;
    setText(this.windows, changes === null ? "" : `${grown} · ▼▲ in ${Math.round(recent)} s`);
    setText(this.depthText, depth.head);
    const {queue} = model;
    setText(this.queue.heading, selected ? `QUEUE ${model.ticks.text(selected.tick)} ${selected.side.toUpperCase()}` : "QUEUE");
    const more = queue && queue.count > queue.shown ? `, first ${queue.shown}` : "";
    const orders = queue && `${queue.count} order${queue.count === 1 ? "" : "s"}${more} · ${sizeText(queue.size)}`;
    setText(this.queueText, orders ?? "click a price");
    this.letGo.hidden = !selected;
  }

  old(text) {
    this.body.classList.toggle("old", text !== null);
    this.band.hidden = text === null;
    if (text !== null) setText(this.band, text);
  }

  say(level, text) {
    const toast = element("div", {className: "toast", "data-level": level, text});
    this.toasts.append(toast);
    while (this.toasts.children.length > 4) this.toasts.firstChild.remove();
    setTimeout(() => toast.remove(), TOAST_MS[level] ?? TOAST_MS.info);
  }
}
