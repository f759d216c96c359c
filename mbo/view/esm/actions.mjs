// Everything that can be done, whatever asked for it: a key, a button or the mouse.

import {CENTRING, GROUPS} from "./axis.mjs";
import {PALETTES} from "./palette.mjs";

const next = (values, value, step = 1) => values[(values.indexOf(value) + step + values.length) % values.length];

export class Actions {
  constructor(board, send) {
    this.board = board;
    this.send = send;
  }

  can(what) {
    return Boolean(this.board.model.meta?.controls?.[what]);
  }

  // ---- the view

  set(name, value) {
    if (this.board.settings[name] === value) return;
    this.board.settings[name] = value;
    this.board.chosen(name);
  }

  recentre() {
    this.board.axis.recentre();
    this.board.changed("axis");
  }

  scroll(rows) {
    this.board.axis.scroll(rows);
    this.board.changed("axis");
  }

  page(pages) {
    this.scroll(Math.round(pages * (this.board.axis.count - 2)));
  }

  rowHeight(step) {
    this.board.axis.setRowHeight(this.board.axis.rowHeight + step);
    this.board.changed("axis");
  }

  group(step) {
    const at = GROUPS.indexOf(this.board.settings.group) + step;
    this.set("group", GROUPS[Math.max(0, Math.min(GROUPS.length - 1, at))]);
  }

  centring() {
    this.set("centre", next(CENTRING, this.board.settings.centre));
  }

  theme() {
    this.set("theme", this.board.settings.theme === "dark" ? "light" : "dark");
  }

  palette() {
    this.set("palette", next(PALETTES, this.board.settings.palette));
  }

  sums() {
    this.set("sums", !this.board.settings.sums);
  }

  zoom(step, x) {
    if (this.board.view.zoomBy(step, x)) this.board.changed("heat");
  }

  pan(pixels) {
    this.board.view.pan(pixels);
    this.board.changed("heat");
  }

  present() {
    this.board.view.toPresent();
    this.board.changed("heat");
  }

  clear() {
    this.send({do: "clear"});
  }

  // ---- the replay

  toggle() {
    if (this.can("play")) this.send({do: "toggle"});
  }

  step(events) {
    if (this.can("step")) this.send({do: "step", events});
  }

  seek(t) {
    const {meta} = this.board.model;
    if (!this.can("seek")) return;
    this.board.view.toPresent();
    this.send({do: "seek", t: Math.max(meta.begin, Math.min(meta.end ?? t, t))});
  }

  seekBy(seconds) {
    this.seek(this.board.model.header.now + seconds * 1e9);
  }

  seekTo(share) {
    const {meta} = this.board.model;
    if (meta && meta.end !== null) this.seek(meta.begin + share * (meta.end - meta.begin));
  }

  speed(speed) {
    if (this.can("speed")) this.send({do: "speed", x: speed});
  }

  speedBy(step) {
    const {meta, header} = this.board.model;
    const speeds = meta?.speeds ?? [];
    if (!speeds.length) return;
    const order = [...speeds].sort((a, b) => (a || Infinity) - (b || Infinity));
    const at = order.indexOf(header.speed);
    this.speed(order[Math.max(0, Math.min(order.length - 1, at + step))]);
  }

  symbol(symbol) {
    if (symbol !== this.board.model.meta?.symbol) this.send({do: "symbol", symbol});
  }

  symbolBy(step) {
    const {meta} = this.board.model;
    if (this.can("symbols") && meta.symbols.length > 1) this.symbol(next(meta.symbols, meta.symbol, step));
  }

  // ---- the queue

  select(side, tick) {
    this.board.selected = side === null ? null : {side, tick};
    this.send({do: "select", side, tick});
    if (side === null && this.board.model.order) this.follow(null);
    this.board.changed("selection");
  }

  selectBest(side) {
    const tick = this.board.model.header.bbo[side === "bid" ? 0 : 3];
    if (tick !== null) this.select(side, tick);
  }

  // The next level of the book, upwards (1) or downwards (-1) in price, from the selected one.
  selectNext(step) {
    const {selected, model} = this.board;
    if (!selected) return this.selectBest("bid");
    const levels = selected.side === "bid" ? model.bids : model.asks;
    let found = null;
    for (let i = 0; i < levels.rows; i++) {
      const tick = levels.words[4 * i];
      const beyond = step > 0 ? tick > selected.tick : tick < selected.tick;
      if (beyond && (found === null || Math.abs(tick - selected.tick) < Math.abs(found - selected.tick))) found = tick;
    }
    const other = selected.side === "bid" ? step > 0 : step < 0;
    if (found !== null) this.select(selected.side, found);
    else if (other) this.selectBest(selected.side === "bid" ? "ask" : "bid");
  }

  follow(id) {
    this.send({do: "follow", order_id: id});
  }

  // The order after or before the followed one in the queue.
  followNext(step) {
    const orders = this.board.model.queue?.orders ?? [];
    if (!orders.length) return;
    const at = orders.findIndex((order) => order.followed);
    const to = at < 0 ? (step > 0 ? 0 : orders.length - 1) : Math.max(0, Math.min(orders.length - 1, at + step));
    this.follow(orders[to].id);
  }

  // What Escape gives up: first the order, then the price.
  letGo() {
    if (this.board.model.order) this.follow(null);
    else if (this.board.selected) this.select(null, null);
  }
}
