// The mouse on the canvases: scroll, zoom, drag, select, follow.

import {HEAD} from "./surface.mjs";

const CLICK = 4; // px that a click may slip

const lines = (event) => (event.deltaMode === 1 ? event.deltaY : event.deltaY / 40);

// Gathers the small steps of a touchpad to whole ones.
class Steps {
  constructor() {
    this.rest = 0;
  }

  take(amount) {
    this.rest += amount;
    const whole = Math.trunc(this.rest);
    this.rest -= whole;
    return whole;
  }
}

export function listen(board, actions) {
  const {heat, ladder, tape, queue, axis} = board;
  const steps = {heat: new Steps(), ladder: new Steps(), tape: new Steps(), queue: new Steps()};
  const rowOf = (event) => axis.rowAt(event.offsetY - HEAD);
  const within = (panel, event) => event.offsetY >= HEAD && event.offsetY < HEAD + panel.plotHeight;

  const wheel = (panel, name, act) => {
    panel.surface.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const sideways = event.deltaX !== 0 && event.deltaY === 0;
      const whole = steps[name].take(sideways ? event.deltaX / 40 : lines(event));
      if (whole && event.ctrlKey) actions.rowHeight(-Math.sign(whole));
      else if (whole) act(whole, event, sideways);
    }, {passive: false});
  };
  wheel(ladder, "ladder", (rows) => actions.scroll(-rows));
  wheel(tape, "tape", (rows) => (tape.scroll(rows), board.wake()));
  wheel(queue, "queue", (rows) => (queue.scroll(rows), board.wake()));
  wheel(heat, "heat", (rows, event, sideways) => {
    if (event.shiftKey || sideways) actions.pan(-rows * 20);
    else actions.zoom(Math.sign(rows), event.offsetX);
  });

  for (const panel of [heat, ladder]) {
    const {canvas} = panel.surface;
    canvas.addEventListener("pointermove", (event) => {
      board.hover(within(panel, event) ? rowOf(event) : null);
      if (panel !== heat) return;
      heat.pointer = within(heat, event) && event.offsetX < heat.plotWidth ? {x: event.offsetX, y: event.offsetY - HEAD} : null;
      board.changed("heat");
    });
    canvas.addEventListener("pointerleave", () => {
      heat.pointer = null;
      board.hover(null);
      board.changed("heat");
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 1) {
        event.preventDefault();
        actions.recentre();
      }
    });
  }

  ladder.surface.canvas.addEventListener("click", (event) => {
    if (!within(ladder, event) || board.model.middle === null) return;
    board.pick(rowOf(event), ladder.sideAt(event.offsetX, rowOf(event)));
  });
  queue.surface.canvas.addEventListener("click", (event) => {
    const id = queue.orderAt(event.offsetY);
    if (id !== null) actions.follow(board.model.order?.order_id === id ? null : id);
  });
  heat.surface.canvas.addEventListener("dblclick", () => {
    actions.present();
    actions.recentre();
  });
  dragHeat(board, actions, rowOf, within);
}

// Sideways in time, up and down in price; where nothing was dragged, a click selects the price.
function dragHeat(board, actions, rowOf, within) {
  const {heat, ladder, axis} = board;
  const {canvas} = heat.surface;
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = {x: event.offsetX, y: event.offsetY, rows: 0, moved: false};
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const down = event.offsetY - from.y;
    if (Math.abs(event.offsetX - from.x) + Math.abs(down) > CLICK) from.moved = true;
    if (!from.moved) return;
    actions.pan(event.movementX);
    const rows = Math.round(down / axis.rowHeight) - from.rows;
    if (rows) actions.scroll(rows);
    from.rows += rows;
  });
  canvas.addEventListener("pointerup", (event) => {
    const clicked = from && !from.moved && within(heat, event) && event.offsetX < heat.plotWidth;
    from = null;
    if (clicked && board.model.middle !== null) board.pick(rowOf(event), ladder.likelySide(rowOf(event)));
  });
  canvas.addEventListener("pointercancel", () => (from = null));
}
