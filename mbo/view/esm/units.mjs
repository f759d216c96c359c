// Prices and times as text. A price is an integer of 1e-9 from file to screen; nothing of it passes through a float.

import {NONE} from "./frame.mjs";

const GRAIN = 1_000_000n; // every grouping divides it
const TEXTS_KEPT = 4096;

// Ticks of one instrument: price = tick * tick_ns + offset.
export class Ticks {
  constructor(tickNs = "10000000", offset = "0", decimals = 2) {
    this.tickNs = BigInt(tickNs);
    this.offset = BigInt(offset);
    this.decimals = decimals;
    // Grouped rows begin at round prices, so ticks are counted from price 0, as far as that is possible.
    this.shift = Number((this.offset / this.tickNs) % GRAIN);
    this.texts = new Map();
  }

  get step() {
    return priceText(this.tickNs, this.decimals);
  }

  text(tick) {
    if (tick === NONE) return "–";
    let text = this.texts.get(tick);
    if (text === undefined) {
      if (this.texts.size > TEXTS_KEPT) this.texts.clear();
      text = priceText(BigInt(tick) * this.tickNs + this.offset, this.decimals);
      this.texts.set(tick, text);
    }
    return text;
  }
}

export function priceText(price, decimals) {
  const sign = price < 0n ? "-" : "";
  const digits = (price < 0n ? -price : price).toString().padStart(10, "0");
  const whole = digits.slice(0, -9);
  return decimals > 0 ? `${sign}${whole}.${digits.slice(-9, -9 + Math.min(9, decimals) || undefined)}` : sign + whole;
}

const two = (n) => (n < 10 ? "0" + n : "" + n);
const DAY = 86_400_000;

// Times are nanoseconds since t0; of the day in UTC as text.
export class Clock {
  constructor(t0 = "0") {
    const ns = BigInt(t0);
    this.ms0 = Number(ns / 1_000_000n);
    this.rest = Number(ns % 1_000_000n);
  }

  ms(t) {
    return this.ms0 + Math.floor((t + this.rest) / 1e6);
  }

  text(t, digits = 3) {
    const ms = this.ms(t);
    const day = ((ms % DAY) + DAY) % DAY;
    const s = Math.floor(day / 1000);
    const text = `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
    return digits ? `${text}.${String(day % 1000).padStart(3, "0").slice(0, digits)}` : text;
  }

  date(t) {
    return new Date(this.ms(t)).toISOString().slice(0, 10);
  }

  // "20:03", "20:03:46" or "20:03:46.25" as the time between begin and end that comes next after begin; null: not a time.
  parse(text, begin) {
    const match = /^\s*(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,9})?))?\s*$/.exec(text);
    if (!match) return null;
    const [hour, minute, second] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
    if (hour > 23 || minute > 59 || second >= 60) return null;
    const first = this.ms(begin);
    const wanted = Math.round(((hour * 60 + minute) * 60 + second) * 1000);
    const ahead = (((wanted - (first % DAY)) % DAY) + DAY) % DAY;
    return (first - this.ms0 + ahead) * 1e6 - this.rest;
  }
}

export function ageText(seconds) {
  if (seconds < 0) return "0s";
  if (seconds < 10) return seconds.toFixed(1) + "s";
  if (seconds < 60) return Math.floor(seconds) + "s";
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(Math.floor(seconds) % 60)}`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${two(Math.floor(seconds / 60) % 60)}`;
  return Math.floor(seconds / 86_400) + "d";
}

// At most five signs, so that a column keeps its width.
export function sizeText(size) {
  if (size < 100_000) return "" + size;
  if (size < 999_500) return Math.round(size / 1000) + "k";
  if (size < 9_995_000) return (size / 1e6).toFixed(2) + "M";
  if (size < 99_950_000) return (size / 1e6).toFixed(1) + "M";
  if (size < 9_999_500_000) return Math.round(size / 1e6) + "M";
  return Math.round(size / 1e9) + "G";
}

export const speedText = (speed) => (speed === 0 ? "max" : `${speed}×`);
