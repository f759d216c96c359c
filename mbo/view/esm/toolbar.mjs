// The toolbar: plain controls with labels. What the source cannot do is not there.

import {CENTRING, GROUPS} from "./axis.mjs";
import {element, icon, setIcon, setOptions, setText} from "./dom.mjs";
import {PALETTES} from "./palette.mjs";
import {speedText} from "./units.mjs";

const SEEK_MS = 150; // between two seeks while the slider is dragged

const field = (text, control) => element("label", {className: "field"}, [element("span", {text}), control]);

export class Toolbar {
  constructor(actions, say) {
    this.actions = actions;
    this.say = say;
    this.dragging = false;
    this.soughtAt = 0;
    const button = (testid, label, name, run) =>
      element("button", {type: "button", testid, label, title: label, on: {click: run}}, name ? [icon(name)] : []);
    const choice = (testid, label, change) =>
      element("select", {testid, label, on: {change: (event) => change(event.target.value)}});
    this.symbol = choice("symbol", "Instrument", (value) => actions.symbol(value));
    this.back = button("step-back", "One event back (,)", "back", () => actions.step(-1));
    this.play = button("play", "Play (P)", "play", () => actions.toggle());
    this.forward = button("step-forward", "One event forward (.)", "forward", () => actions.step(1));
    this.speed = choice("speed", "Speed", (value) => actions.speed(Number(value)));
    this.slider = element("input", {
      type: "range", min: 0, max: 1, step: 1000, testid: "seek", label: "Time in the session",
      on: {input: () => this.drag(), change: () => this.drop()},
    });
    this.time = element("input", {
      type: "text", size: 10, testid: "time", label: "Time of day (UTC), hours:minutes:seconds", spellcheck: "false", autocomplete: "off",
      on: {keydown: (event) => this.typed(event), blur: () => this.restore()},
    });
    this.group = choice("group", "Ticks a row", (value) => actions.set("group", Number(value)));
    this.centre = choice("centre", "Centring of the ladder", (value) => actions.set("centre", value));
    this.recentre = button("recentre", "Recentre (Space)", "centre", () => actions.recentre());
    this.palette = choice("palette", "Palette", (value) => actions.set("palette", value));
    this.theme = button("theme", "Dark or light (T)", "theme", () => actions.theme());
    this.help = button("help-open", "Keys (?)", null, () => actions.board.help());
    this.help.textContent = "?";
    this.name = element("strong", {testid: "name", className: "name"});
    this.symbolField = field("Instrument", this.symbol);
    this.speedField = field("Speed", this.speed);
    this.timeField = field("Time UTC", this.time);
    this.replay = element("div", {className: "group", role: "group", "aria-label": "Replay"}, [this.back, this.play, this.forward]);
    this.node = element("div", {className: "toolbar", role: "toolbar", label: "Controls", testid: "toolbar"}, [
      this.name, this.symbolField, this.replay, this.speedField, this.slider, this.timeField,
      element("span", {className: "space"}),
      element("div", {className: "group"}, [field("Ticks/row", this.group), field("Centre", this.centre), this.recentre]),
      element("div", {className: "group"}, [field("Palette", this.palette), this.theme, this.help]),
    ]);
  }

  drag() {
    this.dragging = true;
    const now = performance.now();
    if (now - this.soughtAt < SEEK_MS) return;
    this.soughtAt = now;
    this.actions.seek(Number(this.slider.value) * 1e6);
  }

  drop() {
    this.dragging = false;
    this.actions.seek(Number(this.slider.value) * 1e6);
  }

  typed(event) {
    if (event.key === "Escape") {
      this.restore();
      this.actions.board.root.focus();
    }
    if (event.key !== "Enter") return;
    const {model} = this.actions.board;
    const t = model.meta ? model.clock.parse(this.time.value, model.meta.begin) : null;
    const beyond = t !== null && model.meta.end !== null && (t > model.meta.end || t < model.meta.begin);
    this.time.setAttribute("aria-invalid", String(t === null || beyond));
    if (t === null) this.say("warning", `"${this.time.value}" is not a time: write hours:minutes:seconds, such as 20:03:46`);
    else if (beyond) this.say("warning", `${this.time.value} is not within the session`);
    else this.actions.seek(t);
  }

  restore() {
    this.time.removeAttribute("aria-invalid");
    this.time.value = this.shownTime ?? "";
  }

  // After a frame, at most some times a second.
  update(model, settings, active) {
    const {header, meta} = model;
    setOptions(this.group, GROUPS.map((n) => [String(n), String(n)]), settings.group);
    setOptions(this.centre, CENTRING.map((mode) => [mode, mode]), settings.centre);
    setOptions(this.palette, PALETTES.map((name) => [name, name]), settings.palette);
    if (!meta) return;
    const {controls} = meta;
    setText(this.name, controls.symbols ? "" : meta.symbol);
    this.name.hidden = controls.symbols;
    this.symbolField.hidden = !controls.symbols;
    if (active !== this.symbol) setOptions(this.symbol, meta.symbols.map((name) => [name, name]), meta.symbol);
    this.play.hidden = !controls.play;
    this.back.hidden = this.forward.hidden = !controls.step;
    this.replay.hidden = !controls.play && !controls.step;
    this.speedField.hidden = !controls.speed;
    this.slider.hidden = this.timeField.hidden = !controls.seek;
    setIcon(this.play, header.playing ? "pause" : "play");
    const label = header.playing ? "Pause (P)" : "Play (P)";
    if (this.play.title !== label) {
      this.play.title = label;
      this.play.setAttribute("aria-label", label);
    }
    if (controls.speed && active !== this.speed) {
      setOptions(this.speed, meta.speeds.map((speed) => [String(speed), speedText(speed)]), header.speed);
    }
    if (controls.seek) this.updateTime(model, active);
  }

  updateTime(model, active) {
    const {clock, header, meta} = model;
    this.shownTime = clock.text(header.now, 0);
    if (active !== this.time && this.time.value !== this.shownTime) this.time.value = this.shownTime;
    const [begin, end] = [Math.floor(meta.begin / 1e6), Math.ceil((meta.end ?? header.now) / 1e6)];
    if (this.slider.min !== String(begin)) this.slider.min = begin;
    if (this.slider.max !== String(end)) this.slider.max = end;
    const step = Math.max(1, Math.round((end - begin) / 2000));
    if (this.slider.step !== String(step)) this.slider.step = step;
    if (!this.dragging) this.slider.value = Math.round(header.now / 1e6);
    this.slider.setAttribute("aria-valuetext", this.shownTime + " UTC");
  }
}
