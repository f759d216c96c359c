// Depth: sizes summed from the middle outwards, and how the best ten levels lean.

import {Surface} from "./surface.mjs";
import {sizeText} from "./units.mjs";

const TOP_LEVELS = 10;
const LEAST_SPAN = 30; // rows to either side

// Of the best ten levels: [bid size, ask size, share of the bid in percent or null].
export function imbalanceOf(bids, asks) {
  const sum = ({words, rows}) => {
    let total = 0;
    for (let i = 0; i < Math.min(TOP_LEVELS, rows); i++) total += words[4 * i + 1];
    return total;
  };
  const [bid, ask] = [sum(bids), sum(asks)];
  return [bid, ask, bid + ask ? (100 * bid) / (bid + ask) : null];
}

// [ticks outwards from the middle (below 0 where the book is crossed), sum] of each level, best first.
export function summed({words, rows}, middle, sign) {
  const points = [];
  let sum = 0;
  for (let i = 0; i < rows; i++) {
    sum += words[4 * i + 1];
    points.push([sign * (words[4 * i] - middle), sum]);
  }
  return points;
}

export class Depth {
  constructor(board, host) {
    this.board = board;
    this.dirty = true;
    this.surface = new Surface(host, {label: "Cumulative depth and imbalance", testid: "depth", resized: () => board.resized()});
    this.span = 0;
    this.most = 1;
    this.head = "";
  }

  draw() {
    const {board, surface} = this;
    const {colours, model} = board;
    const {width, height} = surface;
    this.dirty = false;
    surface.fill(colours.page, 0, 0, width, height);
    const {middle} = model;
    const [bid, ask, share] = imbalanceOf(model.bids, model.asks);
    this.drawImbalance(bid, ask, share);
    if (middle === null) return;
    const sides = [summed(model.bids, middle, -1), summed(model.asks, middle, 1)];
    this.fit(sides, board.axis.group);
    const within = sides.map((points) => points.filter(([far]) => Math.abs(far) <= this.span));
    const most = Math.max(1, ...within.map((points) => points.at(-1)?.[1] ?? 0));
    if (most > this.most || most < 0.55 * this.most) this.most = most * 1.15;
    const [top, bottom] = [26, height - 18];
    this.drawSide(within[0], -1, colours.bid, top, bottom);
    this.drawSide(within[1], 1, colours.ask, top, bottom);
    surface.fill(colours.strong, Math.round(width / 2), top, 1, bottom - top);
    this.drawLabels(within, middle, top, bottom);
    this.head = `±${Math.round(this.span)} ticks`;
  }

  // Wide enough for ten levels of each side, and as wide as it was while that will do.
  fit(sides, group) {
    const tenth = Math.max(0, ...sides.map((points) => points[Math.min(9, points.length - 1)]?.[0] ?? 0));
    let span = LEAST_SPAN * group;
    while (span < tenth) span *= 2;
    if (span > this.span || span < this.span / 2 || this.group !== group) this.span = span;
    this.group = group;
  }

  drawSide(points, sign, colours, top, bottom) {
    const {surface} = this;
    const {context, width} = surface;
    if (!points.length) return;
    const half = width / 2;
    const x = (far) => Math.round(half + sign * (far / this.span) * (half - 4));
    const y = (sum) => Math.round(bottom - (sum / this.most) * (bottom - top));
    context.beginPath();
    context.moveTo(x(points[0][0]), bottom);
    let level = bottom;
    for (const [far, sum] of points) {
      context.lineTo(x(far), level);
      level = y(sum);
      context.lineTo(x(far), level);
    }
    context.lineTo(x(this.span), level);
    context.strokeStyle = colours.text;
    context.lineWidth = 1.5;
    context.stroke();
    context.lineTo(x(this.span), bottom);
    context.closePath();
    context.fillStyle = colours.area;
    context.fill();
    context.stroke();
  }

  drawLabels(within, middle, top, bottom) {
    const {board, surface} = this;
    const {colours, model} = board;
    const {width} = surface;
    surface.font(11);
    const price = (tick) => model.ticks.text(Math.round(tick));
    surface.text(price(middle - this.span), 4, bottom + 9, colours.dim);
    surface.text(price(middle + this.span), width - 4, bottom + 9, colours.dim, "right");
    const [bid, , , ask] = model.header.bbo;
    if (bid !== null && ask !== null) {
      const ticks = Math.abs(ask - bid);
      const word = ask > bid ? "spread" : ask < bid ? "crossed by" : "locked,";
      surface.text(`${word} ${ticks} tick${ticks === 1 ? "" : "s"}`, width / 2, bottom + 9, colours.dim, "center");
    }
    surface.font(11.5, true);
    const total = (points) => "Σ " + sizeText(points.at(-1)?.[1] ?? 0);
    this.onPage(total(within[0]), 6, top + 8, colours.bid.text, "left");
    this.onPage(total(within[1]), width - 6, top + 8, colours.ask.text, "right");
  }

  // A text on a patch of the page's colour, readable over the areas.
  onPage(text, x, y, colour, align) {
    const {surface} = this;
    const width = surface.context.measureText(text).width + 8;
    surface.fill(this.board.colours.page, align === "left" ? x - 4 : x + 4 - width, y - 8, width, 16);
    surface.text(text, x, y, colour, align);
  }

  drawImbalance(bid, ask, share) {
    const {board, surface} = this;
    const {colours} = board;
    const {width} = surface;
    surface.font(11, true);
    surface.fill(colours.ask.bar, 6, 5, width - 12, 15);
    const part = share === null ? 0.5 : share / 100;
    surface.fill(colours.bid.bar, 6, 5, Math.round((width - 12) * part), 15);
    surface.fill(colours.text, Math.round(width / 2), 3, 1, 19);
    surface.text(share === null ? "bid –" : `bid ${share.toFixed(0)}%  ${sizeText(bid)}`, 11, 13, colours.text);
    const asked = share === null ? "ask –" : `${sizeText(ask)}  ${(100 - share).toFixed(0)}% ask`;
    surface.text(asked, width - 11, 13, colours.text, "right");
  }

  close() {
    this.surface.close();
  }
}
