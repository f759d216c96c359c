// The heatmap: what rested where, the best prices, the trades and the followed order, on the price axis of the ladder.

import {Bins, brightStep, sizeOf} from "./bins.mjs";
import {Stamps, drawMarks, marksOf} from "./dots.mjs";
import {NONE} from "./frame.mjs";
import {drawGutter, drawHead, drawTimes, drawVolume, GUTTER} from "./heat_margins.mjs";
import {heatTable} from "./palette.mjs";
import {FOOT, HEAD, Surface} from "./surface.mjs";
import {gridTimes} from "./timeview.mjs";
import {sizeText} from "./units.mjs";

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
    drawVolume(this);
    drawTimes(this, grid);
    drawGutter(this);
    drawHead(this, this.pointer && this.underPointer(model, view, axis));
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
