// Around the heatmap: what was traded when, the time, the price, what is meant or pointed at.

import {outline} from "./dots.mjs";
import {FOOT, HEAD} from "./surface.mjs";

export const GUTTER = 58; // px of price labels

// Traded in each bin: bought above, sold below a common line.
export function drawVolume({board, plotWidth, surface}) {
  const {colours, model, view} = board;
  const {columns} = model;
  const top = surface.height - FOOT;
  surface.fill(colours.page, 0, top, plotWidth, FOOT);
  surface.fill(colours.line, 0, top, plotWidth, 1);
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
  surface.fill(colours.line, 0, middle, plotWidth, 1);
  for (const [x, sold, bought] of bars) {
    const up = Math.round((bought / most) * 10);
    const down = Math.round((sold / most) * 10);
    if (up) surface.fill(colours.bid.text, x, middle - up, pixels, up);
    if (down) surface.fill(colours.ask.text, x, middle + 1, pixels, down);
  }
}

export function drawTimes({board, plotWidth, surface}, grid) {
  const {colours, model, view} = board;
  const {clock} = model;
  const y = surface.height - 8;
  surface.font(10.5);
  const digits = grid.step < 1e9 ? 3 : 0;
  for (const t of grid.times) {
    const x = view.xOfTime(t);
    const text = grid.step >= 60e9 ? clock.text(t, 0).slice(0, 5) : clock.text(t, digits);
    if (x > 58 && x < plotWidth - 28) surface.text(text, x, y, colours.dim, "center");
  }
  surface.text("UTC", 4, y, colours.faint);
}

// Prices at round rows, the row under the mouse, the last price.
export function drawGutter(heat) {
  const {board, plotWidth: x, surface} = heat;
  const {axis, colours, model} = board;
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
  const hovered = board.hoverRow;
  if (hovered !== null) drawTag(heat, model.ticks.text(axis.tick(hovered)), hovered, colours.strong, colours.text);
  const {last} = model.header;
  if (!last) return;
  const row = axis.row(last[0]);
  const text = model.ticks.text(last[0]);
  if (row > axis.top) drawBeyond(heat, "▲", HEAD, text);
  else if (row < axis.bottom) drawBeyond(heat, "▼", surface.height - FOOT - 16, text);
  else drawTag(heat, text, row, colours.accent, colours.onAccent);
}

function drawTag({board, plotHeight, plotWidth, surface}, text, row, colour, ink) {
  const {axis} = board;
  const y = axis.y(row);
  if (y + axis.rowHeight > plotHeight + 2) return;
  surface.fill(colour, plotWidth, y + HEAD, GUTTER, axis.rowHeight - 1);
  surface.font(11.5, true);
  surface.text(text, surface.width - 6, y + HEAD + axis.rowHeight / 2, ink, "right");
}

// The last price lies beyond the edge: which way it is.
function drawBeyond({board, plotWidth, surface}, sign, y, text) {
  const {accent, onAccent} = board.colours;
  surface.fill(accent, plotWidth, y, GUTTER, 16);
  surface.text(sign, plotWidth + 2, y + 8, onAccent);
  surface.text(text, surface.width - 4, y + 8, onAccent, "right");
}

// What lies under the mouse, else what the marks mean.
export function drawHead({board, plotWidth, surface}, pointed) {
  const {colours, view} = board;
  surface.fill(colours.panel, 0, 0, plotWidth, HEAD);
  surface.fill(colours.line, 0, HEAD - 1, plotWidth, 1);
  surface.font(11);
  const y = HEAD / 2;
  if (pointed) {
    surface.clipped(pointed, 8, y, plotWidth - 16, colours.text);
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
    surface.text("past · F: back to the present", plotWidth - 8, y, colours.warn, "right");
  }
}
