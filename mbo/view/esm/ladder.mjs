// The ladder: prices stand still, sizes move. Only rows whose content changed are drawn again.

import {Rows, Scale} from "./rows.mjs";
import {FOOT, HEAD, Surface} from "./surface.mjs";
import {sizeText} from "./units.mjs";

// Columns from left to right: name, heading, width where there is room, width where there is little.
const COLUMNS = [
  ["sold", "SOLD", 58, 48],
  ["bidSum", "ΣBID", 50, 42],
  ["bidCount", "#", 34, 27],
  ["bidDelta", "±BID", 46, 37],
  ["bid", "BID", 78, 60],
  ["soldNow", "▼", 40, 34],
  ["price", "PRICE", 78, 66],
  ["boughtNow", "▲", 40, 34],
  ["ask", "ASK", 78, 60],
  ["askDelta", "±ASK", 46, 37],
  ["askCount", "#", 34, 27],
  ["askSum", "ΣASK", 50, 42],
  ["bought", "BGHT", 58, 48],
];
const SUMS = new Set(["bidSum", "askSum"]);
const FADE_MS = 1500;
const FADES = 6;

// Places of the columns in a room: {name: {x, width, heading}}. What is left over goes to the sizes, what is missing is shared.
export function placesOf(sums, room) {
  const columns = COLUMNS.filter(([name]) => sums || !SUMS.has(name));
  const total = (at) => columns.reduce((sum, column) => sum + column[at], 0);
  const at = total(2) <= room ? 2 : 3;
  const squeeze = Math.min(1, room / total(at));
  const extra = Math.max(0, Math.floor((room - total(at)) / 2));
  const places = {};
  let x = 0;
  for (const column of columns) {
    const [name, heading] = column;
    const width = Math.floor(column[at] * squeeze) + (name === "bid" || name === "ask" ? extra : 0);
    places[name] = {x, width, heading};
    x += width;
  }
  return places;
}

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
    if (!rows.count) this.drawEmpty();
    this.drawHead();
    this.drawFoot(model);
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
    if (rows.bidUnknown[i]) this.hatch("left", y, height);
    if (rows.askUnknown[i]) this.hatch("right", y, height);
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

  // Levels that exist and were not sent.
  hatch(half, y, height) {
    const {board, places, surface} = this;
    const {context} = surface;
    const [from, to] = half === "left" ? [0, places.price.x] : [places.price.x + places.price.width, surface.width];
    context.save();
    context.beginPath();
    context.rect(from, y, to - from, height);
    context.clip();
    context.beginPath();
    for (let x = from - height - ((y + from) % 8); x < to; x += 8) {
      context.moveTo(x, y + height);
      context.lineTo(x + height, y);
    }
    context.strokeStyle = board.colours.line;
    context.lineWidth = 1;
    context.stroke();
    context.restore();
  }

  drawEmpty() {
    const {board, surface} = this;
    surface.font(12);
    const text = board.model.meta ? "nothing rests in this book yet" : "waiting for the server";
    surface.text(text, surface.width / 2, surface.height / 2, board.colours.dim, "center");
  }

  drawHead() {
    const {board, places, surface} = this;
    const {colours} = board;
    surface.fill(colours.panel, 0, 0, surface.width, HEAD);
    surface.font(10.5);
    for (const [name, {x, width, heading}] of Object.entries(places)) {
      const colour = name.startsWith("bid") ? colours.bid.text : name.startsWith("ask") ? colours.ask.text : colours.dim;
      surface.text(heading, x + width / 2, HEAD / 2, colour, "center");
      surface.fill(colours.line, x, 0, 1, HEAD);
    }
    const price = places.price;
    surface.fill(colours.bid.text, 0, HEAD - 2, price.x, 2);
    surface.fill(colours.ask.text, price.x + price.width, HEAD - 2, surface.width, 2);
    surface.fill(colours.strong, price.x, HEAD - 2, price.width, 2);
  }

  drawFoot(model) {
    const {board, places, surface} = this;
    const {colours} = board;
    const top = surface.height - FOOT;
    const [bids, bidOrders, asks, askOrders] = model.header.totals;
    surface.fill(colours.panel, 0, top, surface.width, FOOT);
    surface.fill(colours.line, 0, top, surface.width, 1);
    const middle = places.price.x + places.price.width / 2;
    surface.font(11);
    surface.text("whole book", middle, top + 12, colours.dim, "center");
    surface.text(`${sizeText(bids)} lots · ${sizeText(bidOrders)} orders`, places.price.x - 8, top + 12, colours.bid.text, "right");
    surface.text(`${sizeText(asks)} lots · ${sizeText(askOrders)} orders`, places.price.x + places.price.width + 8, top + 12, colours.ask.text);
    const share = bids + asks ? bids / (bids + asks) : 0.5;
    const width = surface.width - 16;
    surface.fill(colours.ask.best, 8, top + 24, width, 6);
    surface.fill(colours.bid.best, 8, top + 24, Math.round(width * share), 6);
    surface.fill(colours.text, 8 + Math.round(width / 2), top + 22, 1, 10);
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
