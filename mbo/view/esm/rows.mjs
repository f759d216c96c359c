// What the visible rows of the ladder say: levels, trades and changes summed over the ticks of each row.

const NAMES = [
  "bid", "bidCount", "bidDelta", "ask", "askCount", "askDelta",
  "sold", "bought", "soldNow", "boughtNow", "bidSum", "askSum", "bidUnknown", "askUnknown",
];

export class Rows {
  constructor() {
    this.top = 0;
    this.count = 0;
    this.room = -1;
    this.names = NAMES;
  }

  reserve(count) {
    this.count = count;
    if (count > this.room) {
      this.room = count + 16;
      for (const name of NAMES) this[name] = new Float64Array(this.room);
    } else {
      for (const name of NAMES) this[name].fill(0);
    }
  }

  fill(model, axis) {
    this.top = axis.top;
    this.reserve(axis.anchor === null ? 0 : axis.top - axis.bottom + 1);
    const above = this.addLevels(model.bids, axis, this.bid, this.bidCount, this.bidDelta, 1);
    const below = this.addLevels(model.asks, axis, this.ask, this.askCount, this.askDelta, -1);
    for (let i = 0, sum = above; i < this.count; i++) this.bidSum[i] = this.bid[i] ? (sum += this.bid[i]) : 0;
    for (let i = this.count - 1, sum = below; i >= 0; i--) this.askSum[i] = this.ask[i] ? (sum += this.ask[i]) : 0;
    this.addVolume(model.volume, axis);
    this.markUnknown(model, axis);
  }

  // Sums a side's levels into rows; gives the sum of the better levels beyond the edge (above for bids, below for asks).
  addLevels(levels, axis, size, count, delta, sign) {
    const {words, rows} = levels;
    let beyond = 0;
    for (let i = 0, w = 0; i < rows; i++, w += 4) {
      const at = this.top - axis.row(words[w]);
      if (at >= 0 && at < this.count) {
        size[at] += words[w + 1];
        count[at] += words[w + 2];
        delta[at] += words[w + 3];
      } else if (sign > 0 ? at < 0 : at >= this.count) {
        beyond += words[w + 1];
      }
    }
    return beyond;
  }

  addVolume(volume, axis) {
    const {words, rows} = volume;
    for (let i = 0, w = 0; i < rows; i++, w += 5) {
      const at = this.top - axis.row(words[w]);
      if (at < 0 || at >= this.count) continue;
      this.sold[at] += words[w + 1];
      this.bought[at] += words[w + 2];
      this.soldNow[at] += words[w + 3];
      this.boughtNow[at] += words[w + 4];
    }
  }

  // Rows with a tick beyond the last level that was sent, where the side has more.
  markUnknown(model, axis) {
    const [bidDeeper, askDeeper] = model.header.deeper;
    const lowest = model.bids.rows ? model.bids.words[(model.bids.rows - 1) * 4] : null;
    const highest = model.asks.rows ? model.asks.words[(model.asks.rows - 1) * 4] : null;
    for (let i = 0; i < this.count; i++) {
      const tick = axis.tick(this.top - i);
      if (bidDeeper && lowest !== null && tick < lowest) this.bidUnknown[i] = 1;
      if (askDeeper && highest !== null && tick + axis.group - 1 > highest) this.askUnknown[i] = 1;
    }
  }
}

// A scale for bars that grows at once and shrinks late, so that bars do not tremble.
export class Scale {
  constructor() {
    this.most = 1;
  }

  fit(count, ...columns) {
    let most = 1;
    for (const values of columns) for (let i = 0; i < count; i++) if (values[i] > most) most = values[i];
    if (most > this.most || most < 0.45 * this.most) this.most = most * 1.1;
    return this.most;
  }
}
