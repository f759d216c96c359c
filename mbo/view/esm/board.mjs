// The dashboard's heart: what is known, what is looked at, and one loop that draws what has changed and rests when nothing has.

import {Actions} from "./actions.mjs";
import {Axis} from "./axis.mjs";
import {Depth} from "./depth.mjs";
import {decode} from "./frame.mjs";
import {Heat} from "./heat.mjs";
import {helpDialog} from "./keys.mjs";
import {Ladder} from "./ladder.mjs";
import {Model} from "./model.mjs";
import {listen} from "./mouse.mjs";
import {coloursOf} from "./palette.mjs";
import {Queue} from "./queue.mjs";
import {settingsOf, StateSender} from "./settings.mjs";
import {Shell} from "./shell.mjs";
import {bookText, partsOf, staleness, staleText, StatusBar} from "./status.mjs";
import {themeProperties} from "./style.mjs";
import {Tape} from "./tape.mjs";
import {TimeView} from "./timeview.mjs";
import {Toolbar} from "./toolbar.mjs";

const TICK_MS = 200; // of what is written in words
const QUIET_MS = 1500; // after which the words have said everything
const AGES_MS = 200; // of the queue's ages
const ACK_EVERY = 4;
const ACK_MS = 50;
const LATE_MS = 30;

// What has to be drawn again when something of the model or of the view has changed.
const DRAWN_BY = {
  header: ["ladder", "depth"],
  bids: ["ladder", "depth"], asks: ["ladder", "depth"], volume: ["ladder"],
  trades: ["tape", "heat"], columns: ["heat"],
  queue: ["queue", "ladder"], order: ["queue", "ladder", "heat"],
  axis: ["heat", "ladder"], heat: ["heat"], selection: ["ladder", "queue"],
  meta: ["heat", "ladder", "tape", "depth", "queue"], epoch: [], status: [],
};

export class Board {
  constructor(root, send, given = {}) {
    this.root = root;
    this.send = send;
    this.model = new Model();
    this.axis = new Axis();
    this.view = new TimeView();
    this.settings = settingsOf(given);
    this.selected = null;
    this.hoverRow = null;
    this.look = 0; // counts changes of colours and sizes
    this.connected = true;
    this.frameMs = null; // when the last frame came, by the browser's clock
    this.staleMs = null;
    this.stale = null;
    this.lagMs = null;
    this.pending = 0; // number of the frame to acknowledge
    this.acknowledged = 0;
    this.shownFrame = 0; // number of the last frame that was drawn
    this.frames = {drawn: 0, times: [], ms: 0};
    this.motion = matchMedia("(prefers-reduced-motion: reduce)");
    this.actions = new Actions(this, send);
    this.toolbar = new Toolbar(this.actions, (level, text) => this.shell.say(level, text));
    this.statusBar = new StatusBar();
    this.shell = new Shell(root, this.actions, this.toolbar, this.statusBar);
    this.sender = new StateSender((state) => send({do: "state", state}));
    this.axis.mode = this.settings.centre;
    this.recolour();
    this.heat = new Heat(this, this.shell.heat.host);
    this.ladder = new Ladder(this, this.shell.ladder.host);
    this.tape = new Tape(this, this.shell.tape.host);
    this.depth = new Depth(this, this.shell.depth.host);
    this.queue = new Queue(this, this.shell.queue.host);
    this.panels = {heat: this.heat, ladder: this.ladder, tape: this.tape, depth: this.depth, queue: this.queue};
    this.axis.group = this.settings.group;
    listen(this, this.actions);
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.resized();
    this.tick();
  }

  get still() {
    return this.motion.matches;
  }

  // ---- what comes

  receive(data) {
    const buffer = ArrayBuffer.isView(data) ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) : data;
    const frame = decode(buffer);
    const {header} = frame;
    const changed = this.model.apply(frame, (number) => this.heat.columnChanged(number));
    this.frameMs = performance.now();
    if (header.record !== this.record) this.recordMs = this.frameMs;
    this.record = header.record;
    if (header.clock_ms) this.lagMs = Date.now() - header.clock_ms;
    this.staleMs = header.flags?.stale ? (this.staleMs ?? this.frameMs) : null;
    this.pending = header.n;
    if (changed.has("epoch")) this.begin(changed);
    if (changed.has("meta")) this.axis.shift = this.model.ticks.shift;
    this.queueCame ||= changed.has("queue");
    if (changed.has("queue")) this.selected = header.queue && {side: header.queue.side, tick: header.queue.tick};
    const said = `${header.playing} ${header.speed} ${this.model.meta?.symbol} ${this.selected?.side} ${this.selected?.tick}`;
    this.saySoon ||= said !== this.said;
    this.said = said;
    if (header.notice) this.shell.say(header.notice.level, header.notice.text);
    for (const what of changed) this.mark(what);
    this.wake();
  }

  // Another source, instrument or column width: what was looked at is no more.
  begin() {
    const {meta} = this.model;
    this.heat.forget();
    this.view.toPresent();
    this.view.begin = meta.begin;
    this.view.columnNs = meta.column_ns;
    this.tape.skipped = 0;
    const axis = `${meta.symbol} ${meta.tick_ns} ${meta.offset}`;
    if (axis !== this.axisOf) {
      this.axisOf = axis;
      this.selected = null;
      this.axis.forget();
      this.ladder.forget();
    }
  }

  // ---- what changes

  mark(what) {
    for (const name of DRAWN_BY[what] ?? []) this.panels[name].dirty = true;
  }

  changed(what) {
    this.mark(what);
    this.wake();
  }

  chosen(name) {
    const {axis, settings} = this;
    if (name === "theme" || name === "palette") this.recolour();
    if (name === "group") axis.regroup(settings.group);
    if (name === "centre") {
      axis.mode = settings.centre;
      axis.held = false;
    }
    this.redraw();
  }

  recolour() {
    this.colours = coloursOf(this.settings.theme, this.settings.palette);
    for (const [name, value] of themeProperties(this.colours)) this.root.style.setProperty(name, value);
    this.look++;
  }

  resized() {
    this.sizes = "old";
    this.wake();
  }

  measure() {
    this.sizes = "new";
    for (const panel of Object.values(this.panels)) {
      panel.surface.measure();
      panel.dirty = true;
    }
    this.axis.resize(Math.max(20, this.ladder.plotHeight));
    this.look++;
  }

  redraw() {
    for (const panel of Object.values(this.panels)) panel.dirty = true;
    this.wake();
  }

  hover(row) {
    if (row === this.hoverRow) return;
    this.hoverRow = row;
    this.changed("axis");
  }

  // Selects the level of a row: the best one in it where a row holds several.
  pick(row, side) {
    const levels = side === "bid" ? this.model.bids : this.model.asks;
    let tick = this.axis.tick(row);
    for (let i = 0; i < levels.rows; i++) {
      if (this.axis.row(levels.words[4 * i]) !== row) continue;
      tick = levels.words[4 * i];
      break;
    }
    if (this.selected?.tick === tick && this.selected.side === side) this.actions.select(null, null);
    else this.actions.select(side, tick);
  }

  focus(testid) {
    const control = this.root.querySelector(`[data-testid="${testid}"]`);
    if (control && control.offsetParent !== null) {
      control.focus();
      control.select?.();
    }
  }

  active() {
    return this.root.getRootNode().activeElement ?? document.activeElement;
  }

  help() {
    if (!this.dialog) {
      this.dialog = helpDialog();
      this.root.append(this.dialog);
    }
    this.dialog.showModal();
  }

  // ---- the loop

  wake() {
    if (!this.request && !this.closed) this.request = requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.request = 0;
    const elapsed = now - (this.drawnAt ?? now);
    this.drawnAt = now;
    const begin = performance.now();
    if (this.sizes === "old") this.measure();
    const anchor = this.axis.anchor;
    const moving = this.axis.follow(this.model.middle, elapsed, this.still);
    if (anchor !== this.axis.anchor) this.mark("axis");
    const fading = this.ladder.fading;
    if (fading) this.ladder.dirty = true;
    if (this.model.queue && now - (this.agesAt ?? 0) > AGES_MS) {
      this.agesAt = now;
      this.queue.dirty = true;
    }
    let drew = false;
    for (const panel of Object.values(this.panels)) {
      if (!panel.dirty) continue;
      panel.draw(now);
      drew = true;
    }
    if (this.saySoon) this.tick();
    else if (this.queueCame) this.shell.update(this, this.depth);
    this.queueCame = false;
    this.acknowledge(now);
    this.shownFrame = this.pending;
    if (drew) this.count(now, performance.now() - begin);
    if (moving || (this.ladder.fading && !this.still)) this.wake();
  }

  // Each acknowledgement costs the server more than a frame: every fourth, but none later than so many ms.
  acknowledge(now) {
    if (this.pending === this.acknowledged) return;
    const wait = ACK_MS - (now - (this.ackAt ?? -ACK_MS));
    if (wait > 0 && this.pending - this.acknowledged < ACK_EVERY && this.lagMs < LATE_MS) {
      this.ackTimer ??= setTimeout(() => {
        this.ackTimer = null;
        this.acknowledge(performance.now());
      }, wait);
      return;
    }
    this.ackAt = now;
    this.acknowledged = this.pending;
    this.send({do: "ack", n: this.pending});
  }

  count(now, ms) {
    const {frames} = this;
    frames.drawn++;
    frames.ms += 0.05 * (ms - frames.ms);
    frames.times.push(now);
    while (frames.times[0] < now - 1000) frames.times.shift();
  }

  get fps() {
    const since = performance.now() - 1000;
    return this.frames.times.filter((time) => time > since).length;
  }

  // What is written in words, and whether the picture has grown old: by a clock that runs when nothing comes.
  tick() {
    const now = performance.now();
    const {model} = this;
    this.saySoon = false;
    if (document.hidden) this.wasHidden = true;
    else if (this.wasHidden) {
      this.wasHidden = false;
      if (this.frameMs !== null) this.frameMs = now; // nothing was drawn meanwhile, so nothing was sent
    }
    this.stale = staleness({
      nowMs: now, frameMs: this.frameMs, meta: model.meta, header: model.header, status: model.status, connected: this.connected,
      hidden: document.hidden, staleMs: this.staleMs,
    });
    const quiet = now - Math.max(this.frameMs ?? 0, this.drawnAt ?? 0) > QUIET_MS;
    if (quiet && this.wasQuiet && !this.stale) return;
    this.wasQuiet = quiet && !this.stale;
    this.shell.old(this.stale && staleText(this.stale, now));
    this.toolbar.update(model, this.settings, this.active());
    this.toolbar.recentre.dataset.held = String(this.axis.held);
    this.shell.update(this, this.depth);
    const {fps, lagMs, stale} = this;
    const quietS = (now - (this.recordMs ?? now)) / 1000;
    this.statusBar.update(model, partsOf({model, stale, quietS, lagMs, fps, drawMs: this.frames.ms}));
    const text = bookText(model);
    if (this.shell.text.textContent !== text) this.shell.text.textContent = text;
    this.root.setAttribute("aria-label", model.meta ? `Order book of ${model.meta.symbol}` : "Order book");
    if (model.meta) this.sender.offer(this.state);
  }

  get state() {
    const {meta, header} = this.model;
    const paused = meta.controls?.seek && !header.playing ? {t: Math.round(header.now)} : {};
    return {symbol: meta.symbol, ...this.settings, ...paused};
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    cancelAnimationFrame(this.request);
    this.sender.close();
    clearTimeout(this.ackTimer);
    for (const panel of Object.values(this.panels)) panel.close();
    this.root.remove();
  }
}
