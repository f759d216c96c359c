// Trades by their number in the instrument's session: a ring of those that came last. Numbers below `shown` have happened.

const MOST_KEPT = 1 << 18;
const SAMPLE = 512;

export class Trades {
  constructor() {
    this.forget();
  }

  forget() {
    this.begin = this.end = 0;
    this.shown = 0;
    this.capacity = 1024;
    this.allocate();
    this.typical = 1; // the median size of the last ones: what large means depends on the instrument
    this.sampled = 0;
  }

  allocate() {
    this.time = new Float64Array(this.capacity);
    this.tick = new Int32Array(this.capacity);
    this.size = new Uint32Array(this.capacity);
    this.side = new Int8Array(this.capacity);
  }

  get bytes() {
    return this.capacity * 17;
  }

  get kept() {
    return this.end - this.begin;
  }

  slot(number) {
    return number % this.capacity;
  }

  // Trades `from` on. Those before them stay if there is no gap; what comes twice is the same and is written twice.
  put(from, rows) {
    const to = from + rows.rows;
    if (from > this.end || to < this.begin || this.begin === this.end) this.begin = this.end = from;
    const begin = Math.min(this.begin, from);
    const end = Math.max(this.end, to);
    if (end - begin > this.capacity) this.grow(end - begin);
    this.begin = Math.max(begin, end - this.capacity);
    this.end = end;
    for (let i = Math.max(0, this.begin - from); i < rows.rows; i++) {
      const slot = (from + i) % this.capacity;
      this.time[slot] = rows.time[i];
      this.tick[slot] = rows.tick[i];
      this.size[slot] = rows.size[i];
      this.side[slot] = rows.side[i];
    }
    if (this.end - this.sampled > 64 || this.end < this.sampled) this.sample();
  }

  grow(needed) {
    if (this.capacity >= MOST_KEPT) return;
    const old = {capacity: this.capacity, time: this.time, tick: this.tick, size: this.size, side: this.side};
    while (this.capacity < needed && this.capacity < MOST_KEPT) this.capacity *= 2;
    this.allocate();
    for (let n = this.begin; n < this.end; n++) {
      const [from, to] = [n % old.capacity, n % this.capacity];
      this.time[to] = old.time[from];
      this.tick[to] = old.tick[from];
      this.size[to] = old.size[from];
      this.side[to] = old.side[from];
    }
  }

  sample() {
    this.sampled = this.end;
    const sizes = [];
    for (let n = Math.max(this.begin, this.end - SAMPLE); n < this.end; n++) sizes.push(this.size[n % this.capacity]);
    sizes.sort((a, b) => a - b);
    this.typical = Math.max(1, sizes[sizes.length >> 1] ?? 1);
  }

  get large() {
    return this.typical * 10;
  }

  // One past the last trade that is both kept and has happened.
  get until() {
    return Math.max(this.begin, Math.min(this.end, this.shown));
  }

  // The first number whose trade is at or after a time (ns); times rise but for a clock that was set back.
  after(time) {
    let low = this.begin;
    let high = this.until;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time[middle % this.capacity] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
