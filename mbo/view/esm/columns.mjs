// The past of the heatmap: a ring of columns, each the resting sizes of 256 ticks above a base of its own.

export class Columns {
  constructor(capacity = 1, cells = 256) {
    this.capacity = capacity;
    this.width = cells;
    this.number = new Int32Array(capacity).fill(-1);
    this.base = new Int32Array(capacity);
    this.bid = new Int32Array(capacity);
    this.ask = new Int32Array(capacity);
    this.sold = new Int32Array(capacity);
    this.bought = new Int32Array(capacity);
    this.cells = new Uint8Array(capacity * cells);
    this.kept = 0;
    this.first = Infinity; // least and greatest number among those kept
    this.last = -1;
  }

  get bytes() {
    return this.cells.byteLength + 6 * 4 * this.capacity;
  }

  // Puts the rows of a frame in their slots, in any order; calls changed(number) for each.
  put(words, rows, cells, changed) {
    for (let i = 0, w = 0; i < rows; i++, w += 8) {
      const number = words[w];
      const slot = number % this.capacity;
      if (number < this.number[slot]) continue; // an older one that the ring has overtaken
      if (this.number[slot] < 0) this.kept++;
      this.number[slot] = number;
      this.base[slot] = words[w + 1];
      this.bid[slot] = words[w + 2];
      this.ask[slot] = words[w + 3];
      this.sold[slot] = words[w + 4];
      this.bought[slot] = words[w + 5];
      this.cells.set(cells.subarray(i * this.width, (i + 1) * this.width), slot * this.width);
      if (number < this.first) this.first = number;
      if (number > this.last) this.last = number;
      changed(number);
    }
    this.first = Math.max(this.first, this.last - this.capacity + 1);
  }

  // The slot of a column, -1 where it has not come.
  slot(number) {
    if (number < 0) return -1;
    const slot = number % this.capacity;
    return this.number[slot] === number ? slot : -1;
  }
}
