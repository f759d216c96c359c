// A frame as the server sends it: a length, a JSON header, sections of fixed rows. Arrays are views; who keeps them copies them.

export const NONE = -2147483648; // the tick of a side that is empty

const WORDS = {bids: 4, asks: 4, volume: 5, columns: 8}; // int32 a row
const TRADE_BYTES = 24;
const QUEUE_BYTES = 32;
const utf8 = new TextDecoder();

function levelsOf(words, rows) {
  return {rows, words};
}

function tradesOf(buffer, at, rows) {
  const view = new DataView(buffer, at, rows * TRADE_BYTES);
  const [time, tick] = [new Float64Array(rows), new Int32Array(rows)];
  const [size, side] = [new Uint32Array(rows), new Int8Array(rows)];
  for (let i = 0, p = 0; i < rows; i++, p += TRADE_BYTES) {
    time[i] = view.getFloat64(p, true);
    tick[i] = view.getInt32(p + 8, true);
    size[i] = view.getUint32(p + 12, true);
    side[i] = view.getInt32(p + 16, true);
  }
  return {rows, time, tick, size, side};
}

// Order ids are text: they do not fit into a number.
function queueOf(buffer, at, rows) {
  const view = new DataView(buffer, at, rows * QUEUE_BYTES);
  const orders = [];
  for (let i = 0, p = 0; i < rows; i++, p += QUEUE_BYTES) {
    const flags = view.getUint32(p + 24, true);
    orders.push({
      id: view.getBigUint64(p, true).toString(),
      since: view.getFloat64(p + 8, true),
      size: view.getUint32(p + 16, true),
      ahead: view.getUint32(p + 20, true),
      iceberg: (flags & 1) !== 0,
      followed: (flags & 2) !== 0,
    });
  }
  return orders;
}

export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  if (4 + length > buffer.byteLength || (4 + length) % 8) throw new Error(`a frame's header has ${length} bytes`);
  const header = JSON.parse(utf8.decode(new Uint8Array(buffer, 4, length)));
  if (header.v !== 1) throw new Error(`a frame of version ${header.v}, not 1`);
  const body = 4 + length;
  const frame = {header};
  for (const [name, [offset, rows]] of Object.entries(header.sections ?? {})) {
    const at = body + offset;
    if (name === "trades") frame.trades = tradesOf(buffer, at, rows);
    else if (name === "queue") frame.queue = queueOf(buffer, at, rows);
    else if (name === "cells") frame.cells = new Uint8Array(buffer, at, buffer.byteLength - at);
    else if (name in WORDS) frame[name] = levelsOf(new Int32Array(buffer, at, rows * WORDS[name]), rows);
  }
  return frame;
}
