// The component's style sheet. Colours come from the theme as custom properties, so that canvas and controls agree.

export const STYLE = `
.mbo-frame { container: mbo / inline-size; width: 100%; height: 100%; }
.mbo { position: relative; display: grid; grid-template-rows: auto minmax(0, 1fr) auto; width: 100%; height: 100%;
  min-height: 420px; background: var(--page); color: var(--text); font: 12px/1.35 ui-monospace, "SF Mono", "Cascadia Mono",
  Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; overflow: hidden; outline: none; box-sizing: border-box; }
.mbo *, .mbo *::before { box-sizing: border-box; }
.mbo:focus-visible { box-shadow: inset 0 0 0 2px var(--focus); }
.mbo [hidden] { display: none !important; }
.mbo .toolbar { display: flex; align-items: flex-end; gap: 10px; padding: 6px 10px; background: var(--panel);
  border-bottom: 1px solid var(--line); }
.mbo .toolbar .space { margin-left: auto; }
.mbo .group { display: flex; align-items: flex-end; gap: 4px; }
.mbo .name { font-size: 15px; align-self: center; }
.mbo .field { display: flex; flex-direction: column; gap: 1px; font-size: 10.5px; color: var(--dim); }
.mbo button, .mbo select, .mbo input { font: inherit; font-size: 12px; color: var(--text); background: var(--page);
  border: 1px solid var(--strong); border-radius: 3px; height: 24px; padding: 0 6px; margin: 0; }
.mbo button { cursor: pointer; display: inline-flex; align-items: center; justify-content: center; min-width: 28px; }
.mbo button:hover, .mbo select:hover { background: var(--hover); }
.mbo button[aria-pressed="true"] { background: var(--selected); border-color: var(--focus); }
.mbo button[data-held="true"] { background: var(--accent); color: var(--on-accent); }
.mbo :is(button, select, input):focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
.mbo input[aria-invalid="true"] { border-color: var(--error); outline-color: var(--error); }
.mbo input[type="range"] { flex: 1 1 120px; min-width: 80px; padding: 0; border: 0; background: none; accent-color: var(--focus); }
.mbo input[type="number"] { width: 62px; }
.mbo .body { display: grid; grid-template-columns: minmax(0, 1fr) minmax(486px, 35%) minmax(270px, 19%); min-height: 0; }
.mbo .body > * { min-width: 0; min-height: 0; border-left: 1px solid var(--line); }
.mbo .panel { display: grid; grid-template-rows: 26px minmax(0, 1fr); min-height: 0; min-width: 0; position: relative; }
.mbo .side { display: grid; grid-template-rows: 38fr 24fr 38fr; min-height: 0; }
.mbo .side .panel + .panel { border-top: 1px solid var(--line); }
.mbo .panel > header { display: flex; align-items: center; gap: 8px; padding: 0 8px; background: var(--panel); color: var(--dim);
  border-bottom: 1px solid var(--line); font-size: 11px; white-space: nowrap; overflow: hidden; }
.mbo .panel > header h2 { font-size: 11px; font-weight: 600; letter-spacing: .04em; margin: 0; color: var(--text); }
.mbo .panel > header .end { margin-left: auto; display: flex; gap: 6px; align-items: center; overflow: hidden; }
.mbo .panel > header :is(button, input) { height: 19px; font-size: 11px; padding: 0 5px; min-width: 22px; }
.mbo .panel > header input { width: 54px; }
.mbo .panel > header .end > span:first-child:not(.legend) { overflow: hidden; text-overflow: ellipsis; }
.mbo .panel > header button { flex: none; }
.mbo .panel > header label { display: flex; align-items: center; gap: 4px; }
.mbo .legend { width: 84px; height: 10px; border-radius: 2px; border: 1px solid var(--strong); flex: 0 1 84px; min-width: 20px; }
.mbo .host { position: relative; overflow: hidden; min-width: 0; min-height: 0; }
.mbo canvas { display: block; position: absolute; top: 0; left: 0; touch-action: none; }
.mbo .old canvas { filter: grayscale(1) opacity(.45); }
.mbo .band { position: absolute; z-index: 3; top: 74px; left: 0; right: 0; text-align: center; padding: 7px; font-weight: 600;
  font-size: 14px; color: #14110a; background: #ffb84d; border: solid #14110a; border-width: 1px 0; pointer-events: none; }
.mbo > footer { display: flex; align-items: center; gap: 14px; padding: 4px 10px; background: var(--panel); color: var(--dim);
  border-top: 1px solid var(--line); font-size: 11px; min-height: 24px; }
.mbo > footer b { color: var(--text); font-weight: 600; white-space: nowrap; }
.mbo .parts { display: flex; flex-wrap: wrap; column-gap: 14px; min-width: 0; }
.mbo .parts > span { white-space: nowrap; }
.mbo .parts .value { color: var(--text); }
.mbo .parts [data-tone="warn"] .value { color: var(--warn); }
.mbo .parts [data-tone="error"] .value { color: var(--error); font-weight: 600; }
.mbo .parts [data-tone="good"] .value { color: var(--good); }
.mbo .toasts { position: absolute; z-index: 5; right: 14px; bottom: 40px; display: grid; gap: 6px; max-width: 460px; }
.mbo .toast { padding: 8px 12px; background: var(--panel); color: var(--text); border: 1px solid var(--strong);
  border-left: 4px solid var(--focus); box-shadow: 0 4px 14px rgba(0, 0, 0, .35); }
.mbo .toast[data-level="warning"] { border-left-color: var(--warn); }
.mbo .toast[data-level="error"] { border-left-color: var(--error); }
.mbo .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.mbo dialog { color: var(--text); background: var(--panel); border: 1px solid var(--strong); border-radius: 6px; padding: 14px 18px;
  max-width: min(980px, 92vw); max-height: 88vh; overflow: auto; font: inherit; }
.mbo dialog::backdrop { background: rgba(0, 0, 0, .55); }
.mbo dialog header { display: flex; justify-content: space-between; align-items: center; }
.mbo dialog h2 { font-size: 15px; margin: 0; }
.mbo dialog h3 { font-size: 12px; margin: 12px 0 4px; color: var(--dim); }
.mbo dialog .lists { columns: 3 240px; column-gap: 26px; }
.mbo dialog section { break-inside: avoid; }
.mbo dialog dl { display: grid; grid-template-columns: 86px 1fr; gap: 3px 8px; margin: 0; }
.mbo dialog dt { color: var(--focus); font-weight: 600; }
.mbo dialog dd { margin: 0; }
.mbo dialog p { color: var(--dim); margin: 12px 0 0; max-width: 88ch; }
@media (forced-colors: active) { .mbo button, .mbo select, .mbo input { border: 1px solid; } }
@media (prefers-reduced-motion: no-preference) { .mbo .toast { animation: mbo-toast .15s ease-out; } }
@keyframes mbo-toast { from { opacity: 0; transform: translateY(6px); } }
@container mbo (max-width: 1280px) {
  .mbo .body { grid-template-columns: minmax(0, 1fr) minmax(482px, 40%) 258px; }
  .mbo .toolbar { gap: 7px; padding: 6px; }
}
@container mbo (max-width: 900px) {
  .mbo { overflow: auto; }
  .mbo .body { grid-template-columns: minmax(0, 1fr) 240px; grid-template-rows: 40% 60%; }
  .mbo .body > :first-child { grid-column: 1 / 3; }
  .mbo .toolbar { flex-wrap: wrap; }
}
`;

// Names of the theme's colours as custom properties.
export function themeProperties(colours) {
  const names = {
    page: "page", panel: "panel", line: "line", strong: "strong", text: "text", dim: "dim", hover: "hover", selected: "selected",
    accent: "accent", onAccent: "on-accent", warn: "warn", error: "error", good: "good",
  };
  const properties = Object.entries(names).map(([name, property]) => ["--" + property, colours[name]]);
  return [...properties, ["--focus", colours.bid.text], ["color-scheme", colours.name]];
}
