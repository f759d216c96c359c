// Time and sales: newest first, from a least size on; the aggressor in words and arrows, large prints marked.

import {Surface} from "./surface.mjs";
import {sizeText} from "./units.mjs";

const TAPE_ROW = 17;
const LOOKED_THROUGH = 50_000; // trades looked through for those that are large enough

export class Tape {
  constructor(board, host) {
    this.board = board;
    this.dirty = true;
    this.surface = new Surface(host, {label: "Time and sales", testid: "tape", resized: () => board.resized()});
    this.skipped = 0; // rows scrolled back
    this.drawn = [];
  }

  scroll(rows) {
    this.skipped = Math.max(0, this.skipped + rows);
    this.dirty = true;
  }

  // The numbers of the trades that are to be seen, newest first.
  visible(count) {
    const {model, settings} = this.board;
    const {trades} = model;
    const numbers = [];
    let skip = this.skipped;
    const stop = Math.max(trades.begin, trades.until - LOOKED_THROUGH);
    for (let n = trades.until - 1; n >= stop && numbers.length < count; n--) {
      if (trades.size[n % trades.capacity] < settings.tape_min) continue;
      if (skip-- > 0) continue;
      numbers.push(n);
    }
    return numbers;
  }

  draw() {
    const {board, surface} = this;
    const {colours, model} = board;
    const {trades} = model;
    surface.fill(colours.page, 0, 0, surface.width, surface.height);
    this.drawn = [];
    const numbers = this.visible(Math.ceil(surface.height / TAPE_ROW));
    if (!numbers.length) {
      surface.font(11.5);
      const text = trades.kept ? "no trade of that size yet" : "no trade yet";
      surface.text(text, surface.width / 2, surface.height / 2, colours.dim, "center");
    }
    numbers.forEach((n, i) => this.drawRow(n % trades.capacity, i));
    if (this.skipped) {
      surface.fill(colours.strong, 0, surface.height - 16, surface.width, 16);
      surface.font(11);
      surface.text(`${this.skipped} newer above`, surface.width / 2, surface.height - 8, colours.text, "center");
    }
    this.dirty = false;
  }

  drawRow(slot, i) {
    const {board, surface} = this;
    const {colours, model} = board;
    const {trades} = model;
    const [size, side] = [trades.size[slot], trades.side[slot]];
    const y = i * TAPE_ROW;
    const middle = y + TAPE_ROW / 2 + 0.5;
    const large = size >= trades.large;
    const tone = side > 0 ? colours.bid : side < 0 ? colours.ask : {text: colours.dim, area: colours.band, best: colours.strong};
    const bar = Math.round(surface.width * Math.min(1, size / trades.large));
    surface.fill(large ? tone.best : tone.area, 0, y + 1, large ? surface.width : Math.max(2, bar * 0.6), TAPE_ROW - 2);
    const ink = large ? colours.text : tone.text;
    const time = model.clock.text(trades.time[slot]);
    const price = model.ticks.text(trades.tick[slot]);
    surface.font(11.5);
    surface.text(time, 8, middle, large ? colours.text : colours.dim);
    const arrow = side > 0 ? "▲" : side < 0 ? "▼" : "·";
    surface.font(11.5, large);
    surface.text(`${arrow} ${price}`, surface.width - 104, middle, ink, "right");
    surface.font(12, true);
    surface.text((large ? "● " : "") + sizeText(size), surface.width - 50, middle, colours.text, "right");
    surface.font(11);
    const word = side > 0 ? "BUY" : side < 0 ? "SELL" : "–";
    surface.text(word, surface.width - 8, middle, ink, "right");
    this.drawn.push({time, price, size, side});
  }

  close() {
    this.surface.close();
  }
}
