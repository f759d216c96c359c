// Around the ladder: its columns and their headings, the sums of the whole book, rows of which nothing is known.

import {FOOT, HEAD} from "./surface.mjs";
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
export const SUMS = new Set(["bidSum", "askSum"]);

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

// Levels that exist and were not sent.
export function hatch({board, places, surface}, half, y, height) {
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
  context.strokeStyle = board.colours.strong;
  context.lineWidth = 1;
  context.stroke();
  context.restore();
}

export function drawEmpty({board, surface}) {
  surface.font(12);
  const text = board.model.meta ? "nothing rests in this book yet" : "waiting for the server";
  surface.text(text, surface.width / 2, surface.height / 2, board.colours.dim, "center");
}

export function drawHeadings({board, places, surface}) {
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

export function drawTotals({board, places, surface}) {
  const {colours, model} = board;
  const top = surface.height - FOOT;
  const [bids, bidOrders, asks, askOrders] = model.header.totals;
  surface.fill(colours.panel, 0, top, surface.width, FOOT);
  surface.fill(colours.line, 0, top, surface.width, 1);
  const middle = places.price.x + places.price.width / 2;
  surface.font(11);
  surface.text("book", middle, top + 12, colours.dim, "center");
  surface.text(`${sizeText(bids)} in ${sizeText(bidOrders)} orders`, places.price.x - 8, top + 12, colours.bid.text, "right");
  const right = places.price.x + places.price.width + 8;
  surface.text(`${sizeText(asks)} in ${sizeText(askOrders)} orders`, right, top + 12, colours.ask.text);
  const share = bids + asks ? bids / (bids + asks) : 0.5;
  const width = surface.width - 16;
  surface.fill(colours.ask.best, 8, top + 24, width, 6);
  surface.fill(colours.bid.best, 8, top + 24, Math.round(width * share), 6);
  surface.fill(colours.text, 8 + Math.round(width / 2), top + 22, 1, 10);
}
