// What the browser knows of the book: the last of everything that was sent, and the past that is kept.

import {Columns} from "./columns.mjs";
import {Trades} from "./trades.mjs";
import {Clock, Ticks} from "./units.mjs";

const EMPTY = {rows: 0, words: new Int32Array(0)};
const FLAGS = {valid: true, synced: true, suspect: false, crossed: false, stale: false};

export class Model {
  constructor() {
    this.meta = null;
    this.status = {};
    this.header = {now: 0, bbo: [null, 0, 0, null, 0, 0], last: null, totals: [0, 0, 0, 0], deeper: [false, false], flags: FLAGS};
    this.ticks = new Ticks();
    this.clock = new Clock();
    this.columns = new Columns();
    this.trades = new Trades();
    this.forgetBook();
  }

  forgetBook() {
    this.bids = this.asks = this.volume = EMPTY;
    this.queue = null; // {side, tick, size, count, shown, orders}
    this.order = null; // what became of the followed order
  }

  // Takes a decoded frame; says what changed. `onColumn(number)` is called for every column that came.
  apply(frame, onColumn = () => {}) {
    const {header} = frame;
    const changed = new Set(["header"]);
    if (header.meta) this.begin(header.meta, changed);
    if (header.status) this.take("status", header.status, changed);
    for (const name of ["bids", "asks", "volume"]) {
      if (frame[name]) this.take(name, {rows: frame[name].rows, words: frame[name].words.slice()}, changed);
    }
    if ("queue" in header) this.take("queue", header.queue && {...header.queue, orders: frame.queue ?? []}, changed);
    if ("order" in header) this.take("order", header.order, changed);
    if (header.trades_reset) {
      this.trades.forget();
      changed.add("trades");
    }
    if (frame.trades) {
      this.trades.put(header.trades_from, frame.trades);
      changed.add("trades");
    }
    if (this.trades.shown !== header.trades_shown) {
      this.trades.shown = header.trades_shown ?? this.trades.end;
      changed.add("trades");
    }
    if (frame.columns) {
      this.columns.put(frame.columns.words, frame.columns.rows, frame.cells, onColumn);
      changed.add("columns");
    }
    if (this.header.columns_shown !== header.columns_shown) changed.add("columns");
    this.header = header;
    return changed;
  }

  take(name, value, changed) {
    this[name] = value;
    changed.add(name);
  }

  // Another epoch numbers its columns and trades anew: nothing of the last one may stay.
  begin(meta, changed) {
    const another = !this.meta || this.meta.epoch !== meta.epoch;
    const symbol = this.meta?.symbol;
    this.meta = meta;
    this.ticks = new Ticks(meta.tick_ns, meta.offset, meta.decimals);
    this.clock = new Clock(meta.t0_ns);
    changed.add("meta");
    if (!another) return;
    this.columns = new Columns(meta.capacity, meta.cells);
    this.trades.forget();
    if (symbol !== meta.symbol) this.forgetBook();
    this.order = null;
    changed.add("epoch");
  }

  get shown() {
    return this.header.columns_shown ?? this.columns.last;
  }

  // The middle of the book in ticks, else its only side, else the last trade; null where nothing is known.
  get middle() {
    const [bid, , , ask] = this.header.bbo;
    if (bid !== null && ask !== null) return (bid + ask) / 2;
    return bid ?? ask ?? this.header.last?.[0] ?? null;
  }

  get bytes() {
    const books = (this.bids.words.length + this.asks.words.length + this.volume.words.length) * 4;
    return this.columns.bytes + this.trades.bytes + books;
  }
}
