// What a viewer has chosen, as it stands in the page's address: unknown names and values are left aside.

import {CENTRING, GROUPS} from "./axis.mjs";
import {PALETTES} from "./palette.mjs";

const USUAL = {
  theme: "dark", palette: PALETTES[0], group: 1, centre: "edge", tape_min: 1, heat_low: 1, heat_high: 0, sums: false,
};
const WAIT_MS = 500;

const among = (values) => (value) => (values.includes(value) ? value : undefined);
const whole = (least, most) => (value) => {
  const number = Number(value);
  return Number.isInteger(number) && number >= least && number <= most ? number : undefined;
};
const READ = {
  theme: among(["dark", "light"]),
  palette: among(PALETTES),
  group: (value) => among(GROUPS)(Number(value)),
  centre: among(CENTRING),
  tape_min: whole(1, 1e9),
  heat_low: whole(1, 1e6),
  heat_high: whole(0, 1e6), // 0: as the sizes are
  sums: (value) => (value === true || value === "true" ? true : value === false || value === "false" ? false : undefined),
};

export function settingsOf(given) {
  const settings = {...USUAL};
  for (const [name, read] of Object.entries(READ)) {
    const value = given && name in given ? read(given[name]) : undefined;
    if (value !== undefined) settings[name] = value;
  }
  return settings;
}

// Sends the state when it has changed, at most twice a second, the last one always.
export class StateSender {
  constructor(send, wait = WAIT_MS) {
    this.send = send;
    this.wait = wait;
    this.sent = null;
    this.timer = 0;
  }

  offer(state) {
    this.next = JSON.stringify(state);
    if (this.sent === null) this.sent = this.next; // as it was found
    if (this.next !== this.sent && !this.timer) this.timer = setTimeout(() => this.flush(), this.wait);
  }

  flush() {
    this.timer = 0;
    if (this.next === this.sent) return;
    this.sent = this.next;
    this.send(JSON.parse(this.next));
  }

  close() {
    clearTimeout(this.timer);
  }
}
