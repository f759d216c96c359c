// The price axis that heatmap and ladder share. A row holds `group` ticks; rows are whole pixels high, so both line up.

export const GROUPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
export const CENTRING = ["off", "edge", "smooth", "always"];

const EDGE = 0.38; // of the rows: as far as the middle may go before the ladder moves
const BACK = 0.3; // of the rows: as near as it has to come before it may move by itself again
const STILL = 2; // rows around the middle in which smooth centring keeps still
const PACE = {edge: 90, smooth: 350}; // ms in which two thirds of the way are gone

export class Axis {
  constructor() {
    this.height = 100;
    this.rowHeight = 18;
    this.group = 1;
    this.shift = 0;
    this.anchor = null; // the row in the middle
    this.mode = "edge";
    this.held = false; // somebody scrolled: it stays there
    this.moving = false;
  }

  row(tick) {
    return Math.floor((tick + this.shift) / this.group);
  }

  // The lowest tick of a row.
  tick(row) {
    return row * this.group - this.shift;
  }

  get count() {
    return this.height / this.rowHeight;
  }

  // Where row 0 would begin.
  get origin() {
    return Math.round(this.height / 2 + ((this.anchor ?? 0) - 0.5) * this.rowHeight);
  }

  y(row) {
    return this.origin - row * this.rowHeight;
  }

  rowAt(y) {
    return Math.ceil((this.origin - y) / this.rowHeight) + 0;
  }

  // Middle of the pixel row of a tick that need not be whole.
  middleOf(tick) {
    return this.y(this.row(tick)) + this.rowHeight / 2;
  }

  get top() {
    return this.rowAt(0);
  }

  get bottom() {
    return this.rowAt(this.height - 1);
  }

  // The nearest anchor with a whole row at the upper edge.
  aligned(anchor) {
    const half = this.count / 2 - 0.5;
    return Math.round(anchor + half) - half;
  }

  scroll(rows) {
    if (this.anchor === null) return;
    this.anchor += rows;
    this.held = true;
    this.moving = false;
  }

  recentre() {
    this.held = false;
    this.moving = true;
  }

  regroup(group) {
    this.rescale(() => (this.group = group));
  }

  setRowHeight(height) {
    this.rescale(() => (this.rowHeight = Math.max(12, Math.min(32, Math.round(height)))));
  }

  resize(height) {
    this.rescale(() => (this.height = height));
  }

  rescale(change) {
    const tick = this.anchor === null ? null : (this.anchor + 0.5) * this.group - this.shift;
    change();
    if (tick !== null) this.anchor = this.aligned((tick + this.shift) / this.group - 0.5);
  }

  forget() {
    this.anchor = null;
    this.held = this.moving = false;
  }

  // Goes after the middle of the book (in ticks, or null) as the mode says. `still`: no motion, only places.
  // Says whether it has to be asked again in the next frame.
  follow(middle, elapsedMs, still = false) {
    if (middle === null) return false;
    const wanted = (middle + this.shift + 0.5) / this.group - 0.5;
    if (this.anchor === null) {
      this.anchor = this.aligned(wanted);
      return false;
    }
    const distance = Math.abs(wanted - this.anchor);
    if (this.mode === "edge") {
      if (this.held && distance < BACK * this.count) this.held = false;
      else if (!this.held && distance > EDGE * this.count) this.moving = true;
    } else if (!this.held && this.mode === "smooth" && distance > STILL) {
      this.moving = true;
    } else if (!this.held && this.mode === "always") {
      this.anchor = this.aligned(wanted);
      this.moving = false;
    }
    if (this.moving) this.approach(this.aligned(wanted), elapsedMs, still);
    return this.moving;
  }

  approach(target, elapsedMs, still) {
    const gap = target - this.anchor;
    const pace = this.mode === "smooth" ? PACE.smooth : PACE.edge;
    const far = Math.abs(gap) > 3 * this.count;
    const step = still || far ? gap : gap * (1 - Math.exp(-Math.min(100, elapsedMs) / pace));
    if (Math.abs(gap - step) * this.rowHeight < 0.6) {
      this.anchor = target;
      this.moving = false;
    } else {
      this.anchor += step;
    }
  }
}
