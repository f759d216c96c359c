// The ladder: prices stand still, sizes move. Only rows whose content changed are drawn again.

import {drawEmpty, drawHeadings, drawTotals, hatch, placesOf, SUMS} from "./ladder_margins.mjs";
import {Rows, Scale} from "./rows.mjs";
import {FOOT, HEAD, Surface} from "./surface.mjs";
import {sizeText} from "./units.mjs";

const FADE_MS = 1500;
const FADES = 6;

export class Ladder {
  constructor(board, host) {
    this.board = board;
    this.dirty = true;
    this.all = true; // every row has to be drawn
    this.surface = new Surface(host, {label: "Price ladder of the order book", testid: "ladder", resized: () => board.resized()});
    this.rows = new Rows();
    this.before = [];
    this.sizes = new Scale();
    this.volumes = new Scale();
    this.recent = new Scale();
    this.lastTime = null;
    this.litAt = -Infinity;
    this.rowsDrawn = 0;
  }

  get plotHeight() {
    return this.surface.height - HEAD - FOOT;
  }

  redraw() {
    this.all = this.dirty = true;
  }

  // Another instrument: nothing it showed says anything of this one.
  forget() {
    this.lastTime = null;
    this.litAt = -Infinity;
    this.redraw();
  }

  // From 0 (long ago) to FADES (just now): how brightly the last trade still shines.
  glow(now) {
    const age = now - this.litAt;
    if (age >= FADE_MS) return 0;
    return this.board.still ? FADES : Math.ceil(FADES * (1 - age / FADE_MS));
  }

  get fading() {
    return this.glow(performance.now()) > 0;
  }

  draw(now) {
    const {board, rows, surface} = this;
    const {axis, model} = board;
    const {last} = model.header;
    if (last && last[3] !== this.lastTime) {
      if (this.lastTime !== null) this.litAt = now;
      this.lastTime = last[3];
    }
    this.places = placesOf(board.settings.sums, surface.width);
    rows.fill(model, axis);
    const scales = [this.sizes.fit(rows.count, rows.bid, rows.ask), this.volumes.fit(rows.count, rows.sold, rows.bought)];
    scales.push(this.recent.fit(rows.count, rows.soldNow, rows.boughtNow));
    const frame = `${axis.origin} ${axis.group} ${rows.count} ${scales} ${board.settings.sums} ${board.look}`;
    if (frame !== this.frame) this.all = true;
    this.frame = frame;
    this.scales = scales;
    if (this.all) surface.fill(board.colours.page, 0, 0, surface.width, surface.height);
    const {context} = surface;
    context.save();
    context.beginPath();
    context.rect(0, HEAD, surface.width, this.plotHeight);
    context.clip();
    for (let i = 0; i < rows.count; i++) this.drawIfChanged(i, now);
    context.restore();
    if (!rows.count) drawEmpty(this);
    drawHeadings(this);
    drawTotals(this);
    this.all = this.dirty = false;
  }

  // What decides the look of row i besides its numbers.
  marks(i, now) {
    const {board, rows} = this;
    const {axis, model} = board;
    const row = rows.top - i;
    const {bbo, last} = model.header;
    const {order} = model;
    const {selected} = board;
    const is = (tick) => tick !== null && tick !== undefined && axis.row(tick) === row;
    const lastHere = Boolean(last) && is(last[0]);
    return {
      row,
      bidBest: is(bbo[0]),
      askBest: is(bbo[3]),
      above: bbo[0] === null || row > axis.row(bbo[0]),
      last: lastHere ? last : null,
      glow: lastHere ? this.glow(now) : 0,
      hover: board.hoverRow === row,
      selected: selected && is(selected.tick) ? selected.side : null,
      followed: order && order.state === "resting" && is(order.tick) ? order.side : null,
    };
  }

  drawIfChanged(i, now) {
    const {board, rows} = this;
    const marks = this.marks(i, now);
    let signature = `${marks.bidBest}${marks.askBest}${marks.above}${marks.last?.slice(0, 2)}${marks.last?.[4]}${marks.glow}`;
    signature += `${marks.hover}${marks.selected}${marks.followed}`;
    for (const name of rows.names) if (!SUMS.has(name) || board.settings.sums) signature += "," + rows[name][i];
    if (!this.all && this.before[i] === signature) return;
    this.before[i] = signature;
    this.rowsDrawn++;
    this.drawRow(i, marks);
  }

  drawRow(i, marks) {
    const {board, places, rows, surface} = this;
    const {axis, colours, model} = board;
    const y = axis.y(marks.row) + HEAD;
    const height = axis.rowHeight;
    const round = marks.row % (height >= 16 ? 5 : 10) === 0;
    const ground = marks.selected ? colours.selected : marks.hover ? colours.hover : round ? colours.band : colours.page;
    surface.fill(ground, 0, y, surface.width, height);
    if (rows.bidUnknown[i]) hatch(this, "left", y, height);
    if (rows.askUnknown[i]) hatch(this, "right", y, height);
    const size = height < 15 ? 11 : 12;
    const middle = y + height / 2 + 0.5;
    this.drawSide("bid", i, marks.bidBest, y, middle, size);
    this.drawSide("ask", i, marks.askBest, y, middle, size);
    this.drawVolume("sold", i, y, middle, colours.ask.text);
    this.drawVolume("bought", i, y, middle, colours.bid.text);
    this.drawNow("soldNow", i, y, middle, colours.ask);
    this.drawNow("boughtNow", i, y, middle, colours.bid);
    this.drawPrice(marks, y, middle, size, model.ticks.text(axis.tick(marks.row)));
    if (marks.followed) this.drawFollowed(marks.followed, middle);
    for (const {x} of Object.values(places)) surface.fill(colours.line, x, y, 1, height);
    if (marks.askBest || marks.bidBest) {
      surface.fill(colours.strong, 0, marks.askBest ? y + height - 1 : y, surface.width, 1);
    }
  }

  drawSide(side, i, best, y, middle, font) {
    const {board, places, rows, surface} = this;
    const colours = board.colours[side];
    const {x, width} = places[side];
    const amount = rows[side][i];
    const height = board.axis.rowHeight;
    if (amount) {
      const bar = Math.max(2, Math.round((width - 2) * Math.min(1, amount / this.scales[0])));
      surface.fill(best ? colours.best : colours.bar, side === "bid" ? x + width - bar : x + 1, y + 1, bar, height - 2);
      surface.font(font, best);
      const at = side === "bid" ? x + width - 6 : x + 7;
      surface.text(sizeText(amount), at, middle, board.colours.text, side === "bid" ? "right" : "left");
    }
    surface.font(11);
    const count = rows[side + "Count"][i];
    if (count) this.number(side + "Count", sizeText(count), middle, board.colours.dim);
    const delta = rows[side + "Delta"][i];
    if (delta) {
      const text = (delta > 0 ? "+" : "−") + sizeText(Math.abs(delta));
      this.number(side + "Delta", text, middle, delta > 0 ? board.colours.good : board.colours.bad);
    }
    const sum = rows[side + "Sum"][i];
    if (sum && places[side + "Sum"]) this.number(side + "Sum", sizeText(sum), middle, board.colours.dim);
  }

  number(name, text, middle, colour) {
    const {x, width} = this.places[name];
    this.surface.text(text, x + width - 5, middle, colour, "right");
  }

  drawVolume(name, i, y, middle, colour) {
    const {board, places, rows, surface} = this;
    const amount = rows[name][i];
    if (!amount) return;
    const {x, width} = places[name];
    const bar = Math.max(1, Math.round((width - 2) * Math.min(1, amount / this.scales[1])));
    surface.context.globalAlpha = 0.2;
    surface.fill(colour, name === "sold" ? x + width - bar : x + 1, y + 1, bar, board.axis.rowHeight - 2);
    surface.context.globalAlpha = 1;
    surface.font(11);
    if (name === "sold") surface.text(sizeText(amount), x + width - 5, middle, board.colours.text, "right");
    else surface.text(sizeText(amount), x + 6, middle, board.colours.text);
  }

  drawNow(name, i, y, middle, colours) {
    const {board, places, rows, surface} = this;
    const amount = rows[name][i];
    if (!amount) return;
    const {x, width} = places[name];
    const bar = Math.max(2, Math.round((width - 1) * Math.min(1, amount / this.scales[2])));
    surface.fill(colours.bar, name === "soldNow" ? x + width - bar : x + 1, y + 1, bar, board.axis.rowHeight - 2);
    surface.font(11);
    surface.text(sizeText(amount), x + width / 2, middle, board.colours.text, "center");
  }

  drawPrice(marks, y, middle, font, text) {
    const {board, places, surface} = this;
    const {colours} = board;
    const {x, width} = places.price;
    const height = board.axis.rowHeight;
    const small = text.length > 9 ? 10 : font;
    if (marks.last) {
      surface.fill(colours.accent, x + 1, y, width - 1, height);
      surface.font(small, true);
      const arrow = marks.last[4] > 0 ? "▲" : marks.last[4] < 0 ? "▼" : "";
      surface.text(text + arrow, x + width / 2, middle, colours.onAccent, "center");
      if (marks.glow) this.drawGlow(marks, y, height);
      return;
    }
    surface.font(small, marks.bidBest || marks.askBest);
    const colour = marks.above ? colours.ask.text : colours.bid.text;
    surface.text(text, x + width / 2, middle, colour, "center");
  }

  // A frame around the last price, thick when it has just traded.
  drawGlow(marks, y, height) {
    const {board, places, surface} = this;
    const {x, width} = places.price;
    const thick = 1 + Math.ceil(marks.glow / 3);
    const side = marks.last[2] > 0 ? board.colours.bid : marks.last[2] < 0 ? board.colours.ask : board.colours;
    surface.context.globalAlpha = marks.glow / FADES;
    const colour = side.best ?? board.colours.strong;
    surface.fill(colour, x + 1, y, width - 1, thick);
    surface.fill(colour, x + 1, y + height - thick, width - 1, thick);
    surface.context.globalAlpha = 1;
  }

  drawFollowed(side, middle) {
    const {board, places, surface} = this;
    surface.font(12, true);
    const {x, width} = places[side];
    surface.text("◆", side === "bid" ? x + 3 : x + width - 13, middle, board.colours.mark);
  }

  // The side that a click at x means: the column's, else where there is something, else where it could be.
  sideAt(x, row) {
    const {price} = this.places;
    if (x < price.x) return "bid";
    if (x > price.x + price.width) return "ask";
    return this.likelySide(row);
  }

  likelySide(row) {
    const {axis, model} = this.board;
    const i = this.rows.top - row;
    if (this.rows.bid[i] && !this.rows.ask[i]) return "bid";
    if (this.rows.ask[i] && !this.rows.bid[i]) return "ask";
    return model.middle !== null && axis.tick(row) > model.middle ? "ask" : "bid";
  }

  close() {
    this.surface.close();
  }
}
