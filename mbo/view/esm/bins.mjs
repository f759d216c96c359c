// The heatmap's picture off screen: one pixel a bin and row, kept as a ring of bins, so that only new ones have to be painted.

const SIZE = Float64Array.from({length: 256}, (_, q) => (q ? 2 ** ((q - 1) / 15) : 0));

// The byte of a size, as the server makes it.
export function stepOf(size) {
  return size > 0 ? Math.min(255, 1 + Math.round(15 * Math.log2(size))) : 0;
}

export const sizeOf = (step) => SIZE[step];

export class Bins {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", {willReadFrequently: true});
    this.key = "";
    this.room = 0;
    this.rows = 0;
    this.painted = 0; // how many bins were painted in all: what tests and the status bar look at
  }

  // Everything that makes a painted bin wrong when it changes.
  prepare(bins, rows, topRow, axis, perBin, table, tableKey) {
    const key = `${rows} ${topRow} ${axis.group} ${axis.shift} ${perBin} ${tableKey}`;
    if (bins > this.room || rows !== this.rows) {
      this.room = Math.max(bins + 8, this.room);
      this.rows = rows;
      this.canvas.width = this.room;
      this.canvas.height = rows;
      this.image = this.context.createImageData(this.room, rows);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.tags = new Int32Array(this.room).fill(-1);
      this.sums = new Float64Array(rows);
      this.best = new Uint8Array(rows);
    } else if (key !== this.key) {
      this.tags.fill(-1);
    }
    Object.assign(this, {key, topRow, axis, perBin, table});
  }

  forget() {
    this.key = "";
    this.tags?.fill(-1);
  }

  // A column came again: its bin has to be painted anew.
  touch(column, perBin) {
    if (!this.tags || column < 0) return;
    const bin = Math.floor(column / perBin);
    const at = bin % this.room;
    if (this.tags[at] === bin) this.tags[at] = -1;
  }

  // Paints those bins from first to last that are not there; columns after `shown` have not happened.
  paint(columns, first, last, shown) {
    let from = this.room;
    let to = -1;
    for (let bin = Math.max(0, first); bin <= last; bin++) {
      const at = bin % this.room;
      if (this.tags[at] === bin) continue;
      this.tags[at] = bin;
      this.paintBin(columns, bin, at, shown);
      this.painted++;
      if (at < from) from = at;
      if (at > to) to = at;
    }
    if (to >= 0) this.context.putImageData(this.image, 0, 0, from, 0, to - from + 1, this.rows);
  }

  paintBin(columns, bin, at, shown) {
    const {best, rows, pixels, room, table} = this;
    best.fill(0);
    let known = false;
    const until = Math.min(shown, (bin + 1) * this.perBin - 1);
    for (let column = bin * this.perBin; column <= until; column++) {
      const slot = columns.slot(column);
      if (slot < 0) continue;
      known = true;
      if (this.axis.group === 1) this.greatest(columns, slot);
      else this.greatestSum(columns, slot);
    }
    for (let row = 0, p = at; row < rows; row++, p += room) pixels[p] = known ? table[best[row]] : 0;
  }

  greatest(columns, slot) {
    const {best} = this;
    const top = this.axis.tick(this.topRow) - columns.base[slot]; // the cell of row 0
    const from = Math.max(0, top - columns.width + 1);
    const to = Math.min(this.rows - 1, top);
    const cells = columns.cells;
    for (let row = from, c = slot * columns.width + top - from; row <= to; row++, c--) {
      if (cells[c] > best[row]) best[row] = cells[c];
    }
  }

  greatestSum(columns, slot) {
    const {axis, best, sums, rows} = this;
    sums.fill(0);
    const start = slot * columns.width;
    for (let i = 0; i < columns.width; i++) {
      const step = columns.cells[start + i];
      if (!step) continue;
      const row = this.topRow - axis.row(columns.base[slot] + i);
      if (row >= 0 && row < rows) sums[row] += SIZE[step];
    }
    for (let row = 0; row < rows; row++) {
      if (sums[row]) best[row] = Math.max(best[row], stepOf(sums[row]));
    }
  }

  // The rings's bins first to last onto a canvas, each `pixels` wide and each row `rowHeight` high.
  draw(context, first, last, x, y, pixels, rowHeight) {
    context.imageSmoothingEnabled = false;
    for (let bin = Math.max(0, first); bin <= last; ) {
      const at = bin % this.room;
      const run = Math.min(last - bin + 1, this.room - at);
      const left = x + (bin - first) * pixels;
      context.drawImage(this.canvas, at, 0, run, this.rows, left, y, run * pixels, this.rows * rowHeight);
      bin += run;
    }
  }
}

// The step that only one row in a hundred exceeds, of a sample of the columns on view: where the brightest colour begins.
export function brightStep(columns, axis, firstColumn, lastColumn) {
  const counts = new Uint32Array(256);
  const stride = Math.max(1, Math.floor((lastColumn - firstColumn) / 64));
  let seen = 0;
  for (let column = Math.max(0, firstColumn); column <= lastColumn; column += stride) {
    const slot = columns.slot(column);
    if (slot < 0) continue;
    let sum = 0;
    for (let i = 0; i < columns.width; i++) {
      sum += SIZE[columns.cells[slot * columns.width + i]];
      const next = columns.base[slot] + i + 1;
      if (!sum || (i + 1 < columns.width && axis.row(next) === axis.row(next - 1))) continue;
      counts[stepOf(sum)]++;
      seen++;
      sum = 0;
    }
  }
  let left = Math.ceil(seen / 100);
  for (let q = 255; q > 0; q--) if ((left -= counts[q]) < 0) return q;
  return 76; // 32 lots
}
