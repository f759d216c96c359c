// A canvas that fills its host, in CSS pixels whatever the screen's density, and says when its size has changed.

import {element} from "./dom.mjs";

export const FONT = 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';
export const HEAD = 20; // px of headings above the price rows, the same in heatmap and ladder
export const FOOT = 38; // px of sums below them

export class Surface {
  constructor(host, {label, testid, resized}) {
    this.host = host;
    this.canvas = element("canvas", {role: "img", label, testid});
    host.append(this.canvas);
    this.context = this.canvas.getContext("2d", {alpha: false});
    this.width = this.height = 0;
    this.ratio = 1;
    this.observer = new ResizeObserver(resized);
    this.observer.observe(host);
    this.measure();
  }

  // Takes its host's size. A canvas that changes its size is empty: only to be called where it is drawn at once.
  measure() {
    const ratio = globalThis.devicePixelRatio || 1;
    const width = Math.max(1, Math.floor(this.host.clientWidth));
    const height = Math.max(1, Math.floor(this.host.clientHeight));
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, {width, height, ratio});
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = width + "px";
    this.canvas.style.height = height + "px";
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.textBaseline = "middle";
  }

  font(size, bold = false) {
    this.context.font = `${bold ? "600 " : ""}${size}px ${FONT}`;
  }

  fill(colour, x, y, width, height) {
    this.context.fillStyle = colour;
    this.context.fillRect(x, y, width, height);
  }

  text(text, x, y, colour, align = "left") {
    const {context} = this;
    context.fillStyle = colour;
    if (context.textAlign !== align) context.textAlign = align;
    context.fillText(text, x, y);
  }

  // A text that may not be wider than there is room; what is too long loses its end.
  clipped(text, x, y, room, colour) {
    const per = this.context.measureText("0").width;
    const most = Math.max(1, Math.floor(room / per));
    this.text(text.length > most ? text.slice(0, most - 1) + "…" : text, x, y, colour);
  }

  close() {
    this.observer.disconnect();
    this.canvas.remove();
  }
}
