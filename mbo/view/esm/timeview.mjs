// Which stretch of the past the heatmap shows. A bin is one or several columns and a whole number of pixels wide.

// [columns a bin, pixels a bin], from near to far.
export const ZOOMS = [
  [1, 24], [1, 16], [1, 12], [1, 8], [1, 6], [1, 4], [1, 3], [1, 2], [1, 1],
  [2, 1], [3, 1], [4, 1], [6, 1], [8, 1], [12, 1], [16, 1], [24, 1], [32, 1],
];
const USUAL_ZOOM = 7;

export class TimeView {
  constructor() {
    this.zoom = USUAL_ZOOM;
    this.chosen = false; // whether somebody has zoomed
    this.width = 100;
    this.held = null; // column at the right edge while somebody looks at the past; null: the present
    this.shown = 0;
    this.first = 0; // the first column there is
    this.begin = 0; // time (ns) at which column 0 begins
    this.columnNs = 1e9;
    this.rest = 0;
  }

  get perBin() {
    return ZOOMS[this.zoom][0];
  }

  get pixels() {
    return ZOOMS[this.zoom][1];
  }

  bin(column) {
    return Math.floor(column / this.perBin);
  }

  get lastBin() {
    return this.bin(Math.min(this.held ?? this.shown, this.shown));
  }

  get bins() {
    return Math.ceil(this.width / this.pixels);
  }

  get firstBin() {
    return this.lastBin - this.bins + 1;
  }

  // Left edge of a bin.
  x(bin) {
    return this.width - (this.lastBin - bin + 1) * this.pixels;
  }

  xOfTime(t) {
    const bins = (t - this.begin) / (this.columnNs * this.perBin);
    return this.width - (this.lastBin + 1 - bins) * this.pixels;
  }

  timeAt(x) {
    return this.begin + (this.lastBin + 1 - (this.width - x) / this.pixels) * this.columnNs * this.perBin;
  }

  columnAt(x) {
    return Math.floor((this.timeAt(x) - this.begin) / this.columnNs);
  }

  get behind() {
    return this.held !== null;
  }

  toPresent() {
    this.held = null;
    this.rest = 0;
  }

  // Moves by pixels; to the right of the present there is nothing, so that is where it follows again.
  pan(pixels) {
    this.rest += pixels / this.pixels;
    const bins = Math.trunc(this.rest);
    if (!bins) return;
    this.rest -= bins;
    this.hold((this.held ?? this.shown) - bins * this.perBin);
  }

  hold(column) {
    const least = Math.min(this.shown, this.first + Math.floor((this.bins * this.perBin) / 4));
    this.held = column >= this.shown ? null : Math.max(least, Math.floor(column));
    if (this.held === null) this.rest = 0;
  }

  // While there is little to see it is shown larger, until somebody chooses.
  fit() {
    if (this.chosen) return;
    const columns = this.shown + 1;
    const zoom = ZOOMS.findIndex(([, pixels]) => columns * pixels <= this.width);
    this.zoom = zoom < 0 ? USUAL_ZOOM : Math.min(zoom, USUAL_ZOOM);
  }

  // One step nearer (-1) or farther (+1); the time under x stays where it is, and the present stays at the edge.
  zoomBy(step, x = this.width) {
    const next = Math.max(0, Math.min(ZOOMS.length - 1, this.zoom + step));
    if (next === this.zoom) return false;
    const time = this.timeAt(x);
    this.zoom = next;
    this.chosen = true;
    if (this.held === null) return true;
    const bins = (this.width - x) / this.pixels;
    this.hold((time - this.begin) / this.columnNs + bins * this.perBin - 1);
    return true;
  }
}

const STEPS_S = [
  0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400,
];

// Times of grid lines (ns since t0) between two times, at most one every `apart` pixels, at round times of the day.
export function gridTimes(view, clock, apart = 90) {
  const perPixel = (view.columnNs * view.perBin) / view.pixels;
  const step = (STEPS_S.find((s) => s * 1e9 >= perPixel * apart) ?? 86_400) * 1e9;
  const day0 = (clock.ms0 % 86_400_000) * 1e6 + clock.rest; // ns of t0 since midnight
  const [from, to] = [view.timeAt(0), view.timeAt(view.width)];
  const times = [];
  for (let t = Math.ceil((from + day0) / step) * step - day0; t <= to; t += step) times.push(t);
  return {times, step};
}
