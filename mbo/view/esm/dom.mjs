// Elements without a line of markup: what comes from files only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

// element("button", {label, testid, title, text, on: {click}, ...attributes}, children)
export function element(tag, options = {}, children = []) {
  const node = document.createElement(tag);
  const {label, testid, text, on, className, ...attributes} = options;
  if (className) node.className = className;
  if (label) node.setAttribute("aria-label", label);
  if (testid) node.dataset.testid = testid;
  if (text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on ?? {})) node.addEventListener(name, listener);
  node.append(...children);
  return node;
}

const PATHS = {
  play: "M5 3v10l8-5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  back: "M12 3v10L5 8zM3 3h2v10H3z",
  forward: "M4 3v10l7-5zM11 3h2v10h-2z",
  centre: "M7 1h2v3H7zM7 12h2v3H7zM1 7h3v2H1zM12 7h3v2h-3zM8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12v-1.4a4.6 4.6 0 0 0 0-9.2z",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true"})) {
    svg.setAttribute(key, value);
  }
  path.setAttribute("d", PATHS[name]);
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}

export function setIcon(button, name) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.replaceChildren(icon(name));
}

// Writes only what is another text: most of what is shown stays as it is from frame to frame.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makes a select's options those of `items` ([value, text]); keeps the node's focus and choice.
export function setOptions(select, items, value) {
  const signature = items.map((item) => item.join("\u0000")).join("\u0001");
  if (select.dataset.items !== signature) {
    select.dataset.items = signature;
    select.replaceChildren(...items.map(([key, text]) => element("option", {value: key, text})));
  }
  if (select.value !== String(value)) select.value = String(value);
}
