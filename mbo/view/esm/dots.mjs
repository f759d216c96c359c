// Trades on the heatmap: bought ones are discs, sold ones diamonds, their area grows with size. Near ones of a row become one.

const APART = 10; // px of time that share a mark
const WIDEST = 13;
const MOST_MARKED = 60_000; // trades looked at for one picture
const WITH_NUMBER = 10; // px of radius from which there is room for the size

// Radius of a size where `typical` is the median of what is on view.
export function radiusOf(size, typical) {
  return Math.max(2, Math.min(WIDEST, Math.round(1 + 2.2 * Math.sqrt(size / typical))));
}

// Sums the visible trades by place; gives [{x, row, side, size}], small ones first so that large ones lie on top.
export function marksOf(trades, view, axis) {
  const bins = Math.max(1, Math.ceil(APART / view.pixels));
  const span = bins * view.perBin * view.columnNs;
  const until = trades.until;
  const from = Math.max(trades.after(view.timeAt(-WIDEST)), until - MOST_MARKED);
  const latest = view.timeAt(view.width + WIDEST);
  const [top, bottom] = [axis.top, axis.bottom];
  const marks = new Map();
  for (let n = from; n < until; n++) {
    const slot = n % trades.capacity;
    const time = trades.time[slot];
    if (time > latest) break;
    const row = axis.row(trades.tick[slot]);
    if (row > top || row < bottom) continue;
    const bucket = Math.floor((time - view.begin) / span);
    const side = trades.side[slot];
    const key = (bucket * 4096 + (top - row)) * 3 + side + 1;
    const mark = marks.get(key);
    const size = trades.size[slot];
    if (mark) {
      mark.size += size;
      mark.moment += size * (time - mark.time);
    } else {
      marks.set(key, {time, row, side, size, moment: 0});
    }
  }
  const found = [...marks.values()];
  for (const mark of found) mark.x = view.xOfTime(mark.time + (mark.size ? mark.moment / mark.size : 0));
  return found.sort((a, b) => a.size - b.size);
}

// Marks drawn once for every radius and side, for stamping.
export class Stamps {
  constructor() {
    this.key = "";
    this.stamps = new Map();
  }

  use(colours, ratio) {
    const key = `${colours.name} ${colours.bid.text} ${ratio}`;
    if (key === this.key) return;
    Object.assign(this, {key, colours, ratio});
    this.stamps.clear();
  }

  of(side, radius) {
    const key = side * 100 + radius;
    let stamp = this.stamps.get(key);
    if (!stamp) this.stamps.set(key, (stamp = this.make(side, radius)));
    return stamp;
  }

  make(side, radius) {
    const canvas = document.createElement("canvas");
    const width = 2 * (radius + 2);
    canvas.width = canvas.height = Math.ceil(width * this.ratio);
    const context = canvas.getContext("2d");
    context.scale(this.ratio, this.ratio);
    context.translate(width / 2, width / 2);
    outline(context, side, radius);
    context.lineWidth = 3;
    context.strokeStyle = this.colours.page;
    context.stroke();
    context.fillStyle = side > 0 ? this.colours.bid.text : side < 0 ? this.colours.ask.text : this.colours.dim;
    context.globalAlpha = radius >= 8 ? 0.88 : 1;
    context.fill();
    return {canvas, width};
  }

  stamp(context, side, radius, x, y) {
    const {canvas, width} = this.of(side, radius);
    context.drawImage(canvas, Math.round(x - width / 2), Math.round(y - width / 2), width, width);
  }
}

export function outline(context, side, radius) {
  context.beginPath();
  if (side > 0) {
    context.arc(0, 0, radius, 0, 2 * Math.PI);
  } else if (side < 0) {
    const r = radius * 1.15;
    context.moveTo(0, -r);
    context.lineTo(r, 0);
    context.lineTo(0, r);
    context.lineTo(-r, 0);
    context.closePath();
  } else {
    context.rect(-radius * 0.8, -radius * 0.8, radius * 1.6, radius * 1.6);
  }
}

export function drawMarks(surface, stamps, marks, axis) {
  const {context} = surface;
  const typical = Math.max(1, marks[marks.length >> 1]?.size ?? 1);
  surface.font(9, true);
  for (const mark of marks) {
    const radius = radiusOf(mark.size, typical);
    const y = axis.y(mark.row) + axis.rowHeight / 2;
    stamps.stamp(context, mark.side, radius, mark.x, y);
    if (radius >= WITH_NUMBER && mark.size < 1000) {
      surface.text("" + mark.size, mark.x, y + 0.5, stamps.colours.page, "center");
    }
  }
}
