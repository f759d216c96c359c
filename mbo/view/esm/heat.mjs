// The heatmap: what rested where, the best prices, the trades and the followed order, on the price axis of the ladder.

import {Bins, brightStep, sizeOf} from "./bins.mjs";
import {Stamps, drawMarks, marksOf, outline} from "./dots.mjs";
import {NONE} from "./frame.mjs";
import {heatTable} from "./palette.mjs";
import {FOOT, HEAD, Surface} from "./surface.mjs";
import {gridTimes} from "./timeview.mjs";
import {sizeText} from "./units.mjs";

const GUTTER = 58; // px of price labels
const RECOUNT = 60; // columns after which the bright end is looked for again
const CALM = 8; // steps the bright end may be off before the picture is painted anew

export class Heat {
  constructor(board, host) {
    this.board = board;
    this.dirty = true;
    this.surface = new Surface(host, {
      label: "Liquidity heatmap: resting size by price and time, best prices and trades",
      testid: "heat",
      resized: () => board.resized(),
    });
    this.bins = new Bins();
    this.stamps = new Stamps();
    this.pointer = null; // {x, y} of the mouse, in the plot
    this.bright = 76;
    this.drawn = 0; // columns in the last picture
    this.table = null;
    this.tableKey = "";
    this.range = null;
    this.shown = -1;
  }

  get plotWidth() {
    return this.surface.width - GUTTER;
  }

  get plotHeight() {
    return this.surface.height - HEAD - FOOT;
  }

  // The size from which on cells are brightest.
  get brightSize() {
    return Math.round(sizeOf(this.range[1]));
  }

  columnChanged(number) {
    this.bins.touch(number, this.board.view.perBin);
  }

  forget() {
    this.bins.forget();
    this.shown = -1;
    this.countedAt = undefined;
  }

  // Sets the range of the colours: as asked for, else so that one cell in a hundred is brightest.
  colourRange() {
    const {axis, settings, model, view, colours} = this.board;
    const low = settings.heat_low > 1 ? Math.round(1 + 15 * Math.log2(settings.heat_low)) : 1;
    let high = settings.heat_high > 0 ? Math.round(1 + 15 * Math.log2(settings.heat_high)) : 0;
    if (!high) {
      const {last} = model.columns;
      if (this.countedAt === undefined || this.counted !== axis.group || Math.abs(last - this.countedAt) > RECOUNT) {
        Object.assign(this, {countedAt: last, counted: axis.group});
        const found = brightStep(model.columns, axis, view.shown - 4 * view.bins * view.perBin, view.shown);
        if (Math.abs(found - this.bright) > CALM) this.bright = found;
      }
      high = this.bright;
    }
    high = Math.max(low + 8, high);
    const key = `${colours.name} ${settings.palette} ${low} ${high}`;
    if (key !== this.tableKey) {
      this.tableKey = key;
      this.table = heatTable(colours, low, high);
    }
    this.range = [low, high];
  }

  draw() {
    const {axis, colours, model, view} = this.board;
    const {surface} = this;
    const {context, width, height} = surface;
    view.width = this.plotWidth;
    view.shown = Math.max(0, model.shown);
    view.first = Number.isFinite(model.columns.first) ? model.columns.first : 0;
    view.fit();
    this.colourRange();
    surface.fill(colours.void, 0, 0, width, height);
    context.save();
    context.translate(0, HEAD);
    context.beginPath();
    context.rect(0, 0, this.plotWidth, this.plotHeight);
    context.clip();
    this.drawCells(model, view, axis);
    const grid = gridTimes(view, model.clock);
    context.globalAlpha = 0.35;
    for (const t of grid.times) surface.fill(colours.strong, Math.round(view.xOfTime(t)), 0, 1, this.plotHeight);
    context.globalAlpha = 1;
    this.drawBest(model, view, axis, colours);
    this.stamps.use(colours, surface.ratio);
    this.marks = marksOf(model.trades, view, axis);
    drawMarks(surface, this.stamps, this.marks, axis);
    this.drawLife(model, view, axis, colours);
    this.drawPointer(axis, colours);
    context.restore();
    this.drawVolume(model, view, colours);
    this.drawTimes(grid, model.clock, view, colours);
    this.drawGutter(model, axis, colours);
    this.drawHead(model, view, axis, colours);
    this.dirty = false;
  }

  drawCells(model, view, axis) {
    const rows = axis.top - axis.bottom + 1;
    const {shown} = view;
    if (this.shown !== shown) {
      this.bins.touch(this.shown, view.perBin); // after a seek a bin may show more or less than before
      this.bins.touch(shown, view.perBin);
      if (shown < this.shown) this.bins.forget();
      this.shown = shown;
    }
    this.bins.prepare(view.bins, rows, axis.top, axis, view.perBin, this.table, this.tableKey);
    this.bins.paint(model.columns, view.firstBin, view.lastBin, shown);
    const first = Math.max(0, view.firstBin);
    this.bins.draw(this.surface.context, first, view.lastBin, view.x(first), axis.y(axis.top), view.pixels, axis.rowHeight);
    this.drawn = Math.max(0, Math.min(shown, (view.lastBin + 1) * view.perBin - 1) - first * view.perBin + 1);
  }

  drawBest(model, view, axis, colours) {
    const {context} = this.surface;
    const {columns} = model;
    for (const [ticks, colour] of [[columns.bid, colours.bid.text], [columns.ask, colours.ask.text]]) {
      context.beginPath();
      let on = false;
      for (let bin = Math.max(0, view.firstBin); bin <= view.lastBin; bin++) {
        const slot = columns.slot(Math.min(view.shown, (bin + 1) * view.perBin - 1));
        const tick = slot < 0 ? NONE : ticks[slot];
        if (tick === NONE) {
          on = false;
          continue;
        }
        const x = view.x(bin);
        const y = axis.middleOf(tick);
        if (on) context.lineTo(x, y);
        else context.moveTo(x, y);
        context.lineTo(x + view.pixels, y);
        on = true;
      }
      context.lineJoin = "round";
      context.lineWidth = 3.5;
      context.strokeStyle = colours.page;
      context.stroke();
      context.lineWidth = 1.5;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  // Where the followed order stood, as a dashed line through its life.
  drawLife(model, view, axis, colours) {
    const {order, header} = model;
    if (!order || !order.life?.length) return;
    const {context} = this.surface;
    context.beginPath();
    let tick = null;
    for (const [time, , to] of order.life) {
      const x = view.xOfTime(time);
      if (tick === null) context.moveTo(x, axis.middleOf(to));
      else context.lineTo(x, axis.middleOf(tick));
      context.lineTo(x, axis.middleOf(to));
      tick = to;
    }
    if (order.state === "resting") context.lineTo(view.xOfTime(header.now), axis.middleOf(tick));
    context.setLineDash([5, 3]);
    context.lineWidth = 4;
    context.strokeStyle = colours.page;
    context.stroke();
    context.lineWidth = 2;
    context.strokeStyle = colours.accent;
    context.stroke();
    context.setLineDash([]);
  }

  drawPointer(axis, colours) {
    const {board, surface, pointer} = this;
    if (board.hoverRow !== null) {
      surface.context.globalAlpha = 0.16;
      surface.fill(colours.text, 0, axis.y(board.hoverRow), this.plotWidth, axis.rowHeight);
      surface.context.globalAlpha = 1;
    }
    if (pointer) {
      surface.context.globalAlpha = 0.5;
      surface.fill(colours.text, Math.round(pointer.x), 0, 1, this.plotHeight);
      surface.context.globalAlpha = 1;
    }
  }

  // Traded in each bin: bought above, sold below a common line.
  drawVolume(model, view, colours) {
    const {surface} = this;
    const {columns} = model;
    const top = surface.height - FOOT;
    surface.fill(colours.page, 0, top, this.plotWidth, FOOT);
    surface.fill(colours.line, 0, top, this.plotWidth, 1);
    const wide = Math.max(1, Math.ceil(3 / view.pixels)); // bins a bar
    const bars = [];
    let most = 1;
    const begin = Math.floor(Math.max(0, view.firstBin) / wide);
    for (let bar = begin; bar * wide <= view.lastBin; bar++) {
      let [sold, bought] = [0, 0];
      const until = Math.min(view.shown, (bar + 1) * wide * view.perBin - 1);
      for (let column = bar * wide * view.perBin; column <= until; column++) {
        const slot = columns.slot(column);
        if (slot < 0) continue;
        sold += columns.sold[slot];
        bought += columns.bought[slot];
      }
      if (sold || bought) bars.push([view.x(bar * wide), sold, bought]);
      most = Math.max(most, sold, bought);
    }
    const pixels = Math.max(1, wide * view.pixels - 1);
    const middle = top + 12;
    surface.fill(colours.line, 0, middle, this.plotWidth, 1);
    for (const [x, sold, bought] of bars) {
      const up = Math.round((bought / most) * 10);
      const down = Math.round((sold / most) * 10);
      if (up) surface.fill(colours.bid.text, x, middle - up, pixels, up);
      if (down) surface.fill(colours.ask.text, x, middle + 1, pixels, down);
    }
  }

  drawTimes(grid, clock, view, colours) {
    const {surface} = this;
    const y = surface.height - 8;
    surface.font(10.5);
    const digits = grid.step < 1e9 ? 3 : 0;
    for (const t of grid.times) {
      const x = view.xOfTime(t);
      const text = grid.step >= 60e9 ? clock.text(t, 0).slice(0, 5) : clock.text(t, digits);
      if (x > 28 && x < this.plotWidth - 28) surface.text(text, x, y, colours.dim, "center");
    }
    surface.text("UTC", 4, y, colours.faint);
  }

  drawGutter(model, axis, colours) {
    const {surface, board} = this;
    const x = this.plotWidth;
    surface.fill(colours.panel, x, 0, GUTTER, surface.height);
    surface.fill(colours.line, x, 0, 1, surface.height);
    surface.font(11);
    if (axis.anchor === null) return;
    const every = axis.rowHeight >= 16 ? 5 : 10;
    for (let row = axis.top; row >= axis.bottom; row--) {
      const y = axis.y(row) + axis.rowHeight / 2 + HEAD;
      if (y < HEAD || y > surface.height - FOOT - 4) continue;
      const tick = axis.tick(row);
      if (row % every === 0) surface.text(model.ticks.text(tick), surface.width - 6, y + 0.5, colours.dim, "right");
    }
    const tag = board.hoverRow ?? null;
    if (tag !== null) this.tag(model.ticks.text(axis.tick(tag)), axis.y(tag), colours.strong, colours.text, axis);
    const {last} = model.header;
    if (!last) return;
    const row = axis.row(last[0]);
    if (row > axis.top) this.arrow("▲", 4, model.ticks.text(last[0]), colours);
    else if (row < axis.bottom) this.arrow("▼", surface.height - HEAD - FOOT - 14, model.ticks.text(last[0]), colours);
    else this.tag(model.ticks.text(last[0]), axis.y(row), colours.accent, colours.onAccent, axis);
  }

  tag(text, y, colour, ink, axis) {
    const {surface} = this;
    if (y + axis.rowHeight > this.plotHeight + 2) return;
    surface.fill(colour, this.plotWidth, y + HEAD, GUTTER, axis.rowHeight - 1);
    surface.font(11.5, true);
    surface.text(text, surface.width - 6, y + HEAD + axis.rowHeight / 2, ink, "right");
    surface.font(11);
  }

  // The last price lies beyond the edge: which way it is.
  arrow(sign, y, text, colours) {
    this.surface.fill(colours.accent, this.plotWidth, y + HEAD - 4, GUTTER, 16);
    this.surface.text(sign, this.plotWidth + 2, y + HEAD + 4, colours.onAccent);
    this.surface.text(text, this.surface.width - 4, y + HEAD + 4, colours.onAccent, "right");
  }

  // What lies under the mouse, else what the marks mean.
  drawHead(model, view, axis, colours) {
    const {surface} = this;
    surface.fill(colours.panel, 0, 0, this.plotWidth, HEAD);
    surface.fill(colours.line, 0, HEAD - 1, this.plotWidth, 1);
    surface.font(11);
    const y = HEAD / 2;
    if (this.pointer) {
      surface.clipped(this.underPointer(model, view, axis), 8, y, this.plotWidth - 16, colours.text);
      return;
    }
    const {context} = surface;
    let x = 12;
    for (const [side, word, colour] of [[1, "bought", colours.bid.text], [-1, "sold", colours.ask.text]]) {
      context.save();
      context.translate(x, y);
      context.fillStyle = colour;
      outline(context, side, 4);
      context.fill();
      context.restore();
      surface.text(word, x + 9, y, colours.dim);
      x += 66;
    }
    for (const [word, colour] of [["best bid", colours.bid.text], ["best ask", colours.ask.text]]) {
      surface.fill(colour, x - 4, y - 1, 12, 2);
      surface.text(word, x + 13, y, colours.dim);
      x += 82;
    }
    if (view.behind) {
      surface.font(11, true);
      surface.text("past · F: back to the present", this.plotWidth - 8, y, colours.warn, "right");
    }
  }

  underPointer(model, view, axis) {
    const {x, y} = this.pointer;
    const row = axis.rowAt(y);
    const column = view.columnAt(x);
    const price = model.ticks.text(axis.tick(row));
    const at = `${model.clock.text(view.timeAt(x), view.columnNs < 1e9 ? 3 : 0)}  ${price}`;
    const slot = column > view.shown ? -1 : model.columns.slot(column);
    if (slot < 0) return `${at}  not known`;
    let size = 0;
    for (let tick = axis.tick(row), i = 0; i < axis.group; i++) {
      const cell = tick + i - model.columns.base[slot];
      if (cell >= 0 && cell < model.columns.width) size += sizeOf(model.columns.cells[slot * model.columns.width + cell]);
    }
    const mark = (this.marks ?? []).find((m) => m.row === row && Math.abs(m.x - x) < 7);
    const traded = mark ? `  ${mark.side > 0 ? "bought" : mark.side < 0 ? "sold" : "traded"} ${mark.size}` : "";
    return `${at}  resting ≈ ${sizeText(Math.round(size))}${traded}`;
  }

  close() {
    this.surface.close();
  }
}
