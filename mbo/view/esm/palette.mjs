// Colours: two themes, three palettes. Every text keeps 4.5:1 on what lies behind it; no side is told by colour alone.

const DARK = {
  name: "dark", page: "#0b0e14", panel: "#10141d", band: "#131926", line: "#1f2737", strong: "#33405a",
  text: "#dbe3ee", dim: "#99a6b9", faint: "#8693a8", accent: "#ffd75e", onAccent: "#14110a", mark: "#ffd75e",
  good: "#7fd6a4", bad: "#e39ad8", hover: "#1b2435", selected: "#22324c", warn: "#ffb86b", error: "#ff8f8f", void: "#0d1118",
};
const LIGHT = {
  name: "light", page: "#ffffff", panel: "#f4f6f9", band: "#f1f4f8", line: "#d9dfe8", strong: "#aab5c5",
  text: "#141b26", dim: "#4c596b", faint: "#5c687a", accent: "#ffd34d", onAccent: "#1a1400", mark: "#8a5a00",
  good: "#0a6b3d", bad: "#8a2280", hover: "#e6ecf5", selected: "#d5e3f7", warn: "#8a4b00", error: "#a81919", void: "#eef1f5",
};
export const THEMES = {dark: DARK, light: LIGHT};

// Of each side: its text, its bar, a bar at the best price, the area in the depth chart.
const SIDES = {
  "blue/orange": {
    heat: "ember",
    dark: {bid: ["#6cb4ff", "#1c4269", "#285f96", "#17324f"], ask: ["#ffa552", "#633b14", "#8b521a", "#4a2e12"]},
    light: {bid: ["#0b5aa8", "#b8d6f4", "#86b9ec", "#cfe3f7"], ask: ["#9a4a00", "#f9d5ae", "#f3b877", "#fbe3c8"]},
  },
  "teal/magenta": {
    heat: "sea",
    dark: {bid: ["#4fd1c5", "#12504b", "#176860", "#103d39"], ask: ["#ff8ad1", "#672450", "#963575", "#4a1c3a"]},
    light: {bid: ["#006b63", "#aee3dd", "#7accc3", "#cdeeea"], ask: ["#99166a", "#f6c8e3", "#ec9dcb", "#f9deee"]},
  },
  "green/red": {
    heat: "ember",
    dark: {bid: ["#62d48f", "#164f2f", "#1c6a3f", "#113b24"], ask: ["#ff8f85", "#6b2521", "#9d3731", "#4c1d1a"]},
    light: {bid: ["#0b6b38", "#b5e2c6", "#83cb9e", "#d0eddb"], ask: ["#b01d14", "#f8cbc7", "#f0a099", "#fbe0de"]},
  },
  "grey": {
    heat: "ash",
    dark: {bid: ["#e6edf7", "#3a4455", "#56647c", "#2b3341"], ask: ["#b9c3d2", "#2d333d", "#474f5d", "#23282f"]},
    light: {bid: ["#141b26", "#c6cdd8", "#a2adbd", "#dde2e9"], ask: ["#414c5c", "#dcdfe4", "#bcc3cd", "#e9ecef"]},
  },
};
export const PALETTES = Object.keys(SIDES);

// From little to much; lightness rises (dark theme) or falls (light theme) all the way.
const HEAT = {
  ember: {
    dark: ["#0d0f1c", "#1c1044", "#4a1079", "#812581", "#b5367a", "#e55064", "#fb8761", "#fec287", "#fcfdbf"],
    light: ["#f6f3fb", "#ece5f5", "#dfd1ec", "#cfb8e0", "#bb9bd1", "#a27abd", "#8356a4", "#5e3382", "#371654"],
  },
  sea: {
    dark: ["#0c1120", "#21144d", "#3b3378", "#33577f", "#287a83", "#28a37c", "#5cc863", "#aadc32", "#fde725"],
    light: ["#eef6f3", "#d2ebe2", "#a6d9cc", "#74c0b9", "#469fa6", "#2a7b90", "#1f5877", "#1d3658", "#191a37"],
  },
  ash: {
    dark: ["#10141b", "#1d232d", "#2f3742", "#47505d", "#646e7b", "#858e9a", "#a9b0ba", "#d0d4da", "#ffffff"],
    light: ["#f3f4f6", "#e2e5e9", "#cacfd6", "#adb4be", "#8d96a3", "#6c7684", "#4c5563", "#2e3541", "#12161c"],
  },
};

const channel = (text, at) => parseInt(text.slice(at, at + 2), 16);

export function rgbOf(text) {
  return [channel(text, 1), channel(text, 3), channel(text, 5)];
}

export function coloursOf(theme, palette) {
  const base = THEMES[theme] ?? DARK;
  const sides = SIDES[palette] ?? SIDES["blue/orange"];
  const [side, names] = [sides[base.name], ["text", "bar", "best", "area"]];
  const of = (values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));
  return {...base, bid: of(side.bid), ask: of(side.ask), heat: HEAT[sides.heat][base.name]};
}

// 256 colours (as putImageData wants them) for the logarithmic steps of a cell: page below `low`, the last colour from `high` on.
export function heatTable(colours, low, high) {
  const stops = colours.heat.map(rgbOf);
  const table = new Uint32Array(256);
  const pack = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  table.fill(pack(rgbOf(colours.page)));
  for (let q = Math.max(1, low); q < 256; q++) {
    const at = Math.min(1, 0.08 + 0.92 * ((q - low) / Math.max(1, high - low))) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(at));
    table[q] = pack(stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * (at - i))));
  }
  return table;
}

function luminance(text) {
  const [r, g, b] = rgbOf(text).map((c) => (c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// The contrast of WCAG 2: 1 to 21.
export function contrast(a, b) {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}
