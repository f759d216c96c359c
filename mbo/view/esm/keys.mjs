// The keyboard: every action, and the dialog that lists them. Never while somebody types.

import {element} from "./dom.mjs";

// [group, keys as they are shown, what they do, {key as the browser says it: action}]
const KEYS = [
  ["Ladder", "Space", "recentre", {" ": (a) => a.recentre()}],
  ["Ladder", "↑ ↓", "scroll a row", {ArrowUp: (a) => a.scroll(1), ArrowDown: (a) => a.scroll(-1)}],
  ["Ladder", "PgUp PgDn", "scroll a page", {PageUp: (a) => a.page(1), PageDown: (a) => a.page(-1)}],
  ["Ladder", "M", "next centring: off, edge, smooth, always", {m: (a) => a.centring()}],
  ["Ladder", "G  Shift+G", "more, fewer ticks a row", {g: (a) => a.group(1), G: (a) => a.group(-1)}],
  ["Ladder", "V", "cumulative depth", {v: (a) => a.sums()}],
  ["Ladder", "C", "clear the recent trades", {c: (a) => a.clear()}],
  ["Ladder", "( )", "lower, higher rows", {"(": (a) => a.rowHeight(-1), ")": (a) => a.rowHeight(1)}],
  ["Heatmap", "Z X", "nearer, farther in time", {z: (a) => a.zoom(-1), x: (a) => a.zoom(1)}],
  ["Heatmap", "A D", "earlier, later", {a: (a) => a.pan(120), d: (a) => a.pan(-120)}],
  ["Heatmap", "F", "back to the present", {f: (a) => a.present()}],
  ["Queue", "B N", "best bid, best ask", {b: (a) => a.selectBest("bid"), n: (a) => a.selectBest("ask")}],
  ["Queue", "[ ]", "next price below, above", {"[": (a) => a.selectNext(-1), "]": (a) => a.selectNext(1)}],
  ["Queue", "J K", "follow the next, the previous order", {j: (a) => a.followNext(1), k: (a) => a.followNext(-1)}],
  ["Queue", "Esc", "let go of the order, of the price", {Escape: (a) => a.letGo()}],
  ["Replay", "P", "play, pause", {p: (a) => a.toggle()}],
  ["Replay", ", .", "an event back, forward", {",": (a) => a.step(-1), ".": (a) => a.step(1)}],
  ["Replay", "< >", "ten events back, forward", {"<": (a) => a.step(-10), ">": (a) => a.step(10)}],
  ["Replay", "← →", "10 s back, forward (Shift: 1 min)", {
    ArrowLeft: (a, shift) => a.seekBy(shift ? -60 : -10),
    ArrowRight: (a, shift) => a.seekBy(shift ? 60 : 10),
  }],
  ["Replay", "Home End", "beginning, end", {Home: (a) => a.seekTo(0), End: (a) => a.seekTo(1)}],
  ["Replay", "− +", "slower, faster", {"-": (a) => a.speedBy(-1), "+": (a) => a.speedBy(1), "=": (a) => a.speedBy(1)}],
  ["Look", "T", "dark, light", {t: (a) => a.theme()}],
  ["Look", "L", "next palette", {l: (a) => a.palette()}],
  ["Go to", "I", "next instrument (Shift: previous)", {i: (a) => a.symbolBy(1), I: (a) => a.symbolBy(-1)}],
  ["Go to", "S", "time field", {s: (a) => a.board.focus("time")}],
  ["Go to", "/", "tape filter", {"/": (a) => a.board.focus("tape-min")}],
  ["Go to", "?", "this list", {"?": (a) => a.board.help()}],
];
const ACTIONS = new Map(KEYS.flatMap(([, , , actions]) => Object.entries(actions)));
const SHIFTED = new Set(["G", "I"]);

const types = (node) => /^(INPUT|SELECT|TEXTAREA)$/.test(node?.tagName ?? "") || Boolean(node?.isContentEditable);

// The action of a key, or null where the key belongs to a control or to the browser.
export function actionOf(event, target) {
  if (event.ctrlKey || event.altKey || event.metaKey || types(target)) return null;
  if (target?.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return null;
  if (target?.closest?.("dialog")) return null;
  const key = event.key.length === 1 && !SHIFTED.has(event.key) ? event.key.toLowerCase() : event.key;
  return ACTIONS.get(key) ?? null;
}

// Listens on the page: keys count while the focus is inside, or nowhere and the last click was inside (or the page is all its own).
export class Keyboard {
  constructor(root, actions, wholePage = false) {
    this.clicked = Boolean(wholePage);
    this.stop = new AbortController();
    const {signal} = this.stop;
    const click = (event) => (this.clicked = event.composedPath().includes(root));
    document.addEventListener("pointerdown", click, {signal, capture: true});
    document.addEventListener("keydown", (event) => {
      const path = event.composedPath();
      const inside = path.includes(root);
      if (!inside && !(this.clicked && path[0] === document.body)) return;
      const action = actionOf(event, inside ? path[0] : null);
      if (!action) return;
      event.preventDefault();
      action(actions, event.shiftKey);
    }, {signal});
  }

  close() {
    this.stop.abort();
  }
}

export function helpDialog() {
  const groups = new Map();
  for (const [group, keys, says] of KEYS) groups.set(group, [...(groups.get(group) ?? []), [keys, says]]);
  const lists = [...groups].map(([group, entries]) =>
    element("section", {}, [
      element("h3", {text: group}),
      element("dl", {}, entries.flatMap(([keys, says]) => [element("dt", {text: keys}), element("dd", {text: says})])),
    ]),
  );
  const mouse = element("p", {
    text: "Mouse: the wheel scrolls the ladder and zooms the heatmap (Shift: moves in time, Ctrl: height of the rows); drag the "
      + "heatmap; the middle button recentres; click a price for its queue, an order to follow it.",
  });
  const close = element("button", {type: "button", text: "Close (Esc)", testid: "help-close"});
  const title = element("h2", {text: "Keys", id: "mbo-keys"});
  const dialog = element("dialog", {testid: "help", "aria-labelledby": "mbo-keys"}, [
    element("header", {}, [title, close]), element("div", {className: "lists"}, lists), mouse,
  ]);
  close.addEventListener("click", () => dialog.close());
  return dialog;
}
