// The queue of a price, in priority order, and the life of the order that is followed through it.

import {Surface} from "./surface.mjs";
import {ageText, sizeText} from "./units.mjs";

const ORDER_ROW = 17;
const STRIP_HEIGHT = 18;
const HEADING = 16;
const LIFE_ROWS = 7;

export class Queue {
  constructor(board, host) {
    this.board = board;
    this.dirty = true;
    this.surface = new Surface(host, {label: "Queue of the selected price", testid: "queue", resized: () => board.resized()});
    this.skipped = 0;
    this.key = "";
    this.drawn = [];
    this.listTop = 0;
  }

  scroll(rows) {
    const orders = this.board.model.queue?.orders.length ?? 0;
    this.skipped = Math.max(0, Math.min(Math.max(0, orders - 3), this.skipped + rows));
    this.dirty = true;
  }

  draw() {
    const {board, surface} = this;
    const {colours, model} = board;
    this.dirty = false;
    this.drawn = [];
    surface.fill(colours.page, 0, 0, surface.width, surface.height);
    const {queue} = model;
    const lifeHeight = model.order ? Math.min(surface.height * 0.55, HEADING + 22 + LIFE_ROWS * (ORDER_ROW - 2)) : 0;
    const bottom = surface.height - lifeHeight;
    if (queue) this.drawQueue(queue, bottom);
    else this.drawHint(bottom);
    if (model.order) this.drawLife(model.order, bottom);
  }

  drawHint(bottom) {
    const {colours, model} = this.board;
    const text = model.meta ? ["click a price to see its orders", "B best bid · N best ask"] : [];
    this.surface.font(11.5);
    text.forEach((line, i) => this.surface.text(line, this.surface.width / 2, bottom / 2 + i * 18 - 9, colours.dim, "center"));
  }

  drawQueue(queue, bottom) {
    const {board, surface} = this;
    const key = queue.side + queue.tick;
    if (key !== this.key) this.skipped = 0;
    this.key = key;
    const tone = board.colours[queue.side];
    this.drawStrip(queue, tone);
    this.columns = {rank: 26, bar: 32, ahead: surface.width - 110, id: surface.width - 46, age: surface.width - 6};
    const {columns} = this;
    surface.font(10.5);
    const y = STRIP_HEIGHT + HEADING / 2 + 2;
    for (const [text, x, align] of [
      ["#", columns.rank, "right"], ["size", columns.bar, "left"], ["ahead", columns.ahead, "right"],
      ["order", columns.id, "right"], ["age", columns.age, "right"],
    ]) surface.text(text, x, y, board.colours.dim, align);
    this.listTop = STRIP_HEIGHT + HEADING + 2;
    const room = Math.max(0, Math.floor((bottom - this.listTop) / ORDER_ROW));
    const most = Math.max(1, ...queue.orders.map((order) => order.size));
    queue.orders.slice(this.skipped, this.skipped + room).forEach((order, i) => {
      this.drawOrder(order, this.skipped + i, this.listTop + i * ORDER_ROW, most, tone);
    });
    if (!queue.orders.length) {
      surface.font(11.5);
      surface.text("no orders at this price", surface.width / 2, this.listTop + 20, board.colours.dim, "center");
    }
  }

  // The whole queue in one bar: each order as wide as its share.
  drawStrip(queue, tone) {
    const {board, surface} = this;
    const width = surface.width - 12;
    const total = queue.orders.reduce((sum, order) => sum + order.size, 0);
    let [sum, at] = [0, 6];
    queue.orders.forEach((order, i) => {
      sum += order.size;
      const to = 6 + Math.round((sum / total) * width);
      const colour = order.followed ? board.colours.accent : i % 2 ? tone.bar : tone.best;
      surface.fill(colour, at, 4, Math.max(1, to - at - 1), 11);
      at = to;
    });
  }

  drawOrder(order, rank, y, most, tone) {
    const {board, columns, surface} = this;
    const {colours, model} = board;
    const middle = y + ORDER_ROW / 2 + 0.5;
    if (order.followed) {
      surface.fill(colours.selected, 0, y, surface.width, ORDER_ROW);
      surface.fill(colours.accent, 0, y, 3, ORDER_ROW);
    }
    const room = columns.ahead - columns.bar - 34;
    const bar = Math.max(2, Math.round(room * (order.size / most)));
    surface.fill(tone.bar, columns.bar - 4, y + 2, bar, ORDER_ROW - 4);
    surface.font(11);
    surface.text("" + (rank + 1), columns.rank, middle, colours.dim, "right");
    surface.font(11.5, true);
    const size = sizeText(order.size) + (order.iceberg ? " ◈ice" : "");
    surface.text(size, columns.bar, middle, colours.text);
    surface.font(11);
    surface.text(sizeText(order.ahead), columns.ahead, middle, colours.dim, "right");
    const id = (order.followed ? "◆" : "") + shortId(order.id);
    surface.text(id, columns.id, middle, order.followed ? colours.mark : colours.dim, "right");
    const age = (model.header.now - order.since) / 1e9;
    surface.text(ageText(age), columns.age, middle, colours.dim, "right");
    this.drawn.push({id: order.id, size: order.size, ahead: order.ahead, age_s: age, iceberg: order.iceberg});
  }

  drawLife(order, top) {
    const {board, surface} = this;
    const {colours, model} = board;
    const {width} = surface;
    surface.fill(colours.panel, 0, top, width, 22 + HEADING);
    surface.fill(colours.line, 0, top, width, 1);
    surface.font(11.5, true);
    surface.text("◆ " + shortId(order.order_id, 12), 8, top + 12, colours.mark);
    surface.text(order.state.toUpperCase(), width - 8, top + 12, colours.text, "right");
    surface.font(11);
    let place = `after ${ageText(lifeSeconds(order))}`;
    if (order.state === "resting") {
      const behind = `behind ${sizeText(order.ahead)} in ${order.orders_ahead}`;
      place = `${order.side} ${model.ticks.text(order.tick)} · ${sizeText(order.size)} · ${behind}`;
    }
    surface.clipped(place, 8, top + 28, width - 16, colours.dim);
    const room = Math.floor((surface.height - top - 22 - HEADING - 2) / (ORDER_ROW - 2));
    order.life.slice(-room).reverse().forEach(([time, what, tick, size, ahead], i) => {
      const y = top + 22 + HEADING + 9 + i * (ORDER_ROW - 2);
      surface.text(model.clock.text(time), 8, y, colours.dim);
      surface.text(what, 90, y, colours.text);
      surface.text(tick === null ? "" : model.ticks.text(tick), width - 60, y, colours.dim, "right");
      surface.text(size === null ? "" : "" + sizeText(size), width - 34, y, colours.text, "right");
      surface.text(ahead === null || ahead === undefined ? "" : "↑" + sizeText(ahead), width - 6, y, colours.dim, "right");
    });
  }

  // The order under a click, or null.
  orderAt(y) {
    const i = Math.floor((y - this.listTop) / ORDER_ROW);
    return y < this.listTop ? null : (this.drawn[i]?.id ?? null);
  }

  close() {
    this.surface.close();
  }
}

export const shortId = (id, most = 7) => (id.length > most ? "…" + id.slice(-most + 1) : id);

function lifeSeconds(order) {
  return order.life.length ? (order.life.at(-1)[0] - order.life[0][0]) / 1e9 : 0;
}
