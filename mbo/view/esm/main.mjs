// The component as Panel renders it.

import {Board} from "./board.mjs";
import {element} from "./dom.mjs";
import {expose} from "./exposed.mjs";
import {Keyboard} from "./keys.mjs";
import {STYLE} from "./style.mjs";
import {Wire} from "./wire.mjs";

export function render({model, el}) {
  const root = element("section", {className: "mbo", tabindex: 0, label: "Order book", testid: "mbo"});
  const frame = element("div", {className: "mbo-frame"}, [element("style", {text: STYLE}), root]);
  el.replaceChildren(frame);
  el.style.height = "100%";
  const given = model.state instanceof Map ? Object.fromEntries(model.state) : (model.state ?? {});
  const send = (message) => {
    if (message.do === "ack" && wire.send(message)) return;
    if (board.connected) model.send_msg(message);
  };
  const board = new Board(root, send, {theme: model.theme, ...given});
  const keyboard = new Keyboard(root, board.actions, model.whole_page);
  // A click takes the focus back from a button or a list, so that the next key is a command again.
  let byMouse = false;
  root.addEventListener("keydown", () => (byMouse = false), {capture: true});
  root.addEventListener("pointerdown", (event) => {
    byMouse = true;
    if (!event.target.closest("button, input, select, dialog")) root.focus({preventScroll: true});
  });
  root.addEventListener("click", (event) => {
    if (event.detail > 0 && event.target.closest("button") && !event.target.closest("dialog")) root.focus({preventScroll: true});
  });
  root.addEventListener("change", (event) => {
    if (byMouse && event.target.tagName === "SELECT") root.focus({preventScroll: true});
  });
  let broken = false;
  const receive = (data) => {
    try {
      board.receive(data);
    } catch (error) {
      console.error(error);
      if (!broken) board.shell.say("error", `A frame could not be read: ${error.message}`);
      broken = true;
    }
  };
  const wire = new Wire(receive, () => send({do: "ready"}));
  model.on("msg:custom", (data) => {
    if (typeof data === "string") wire.take(data);
    else if (!wire.taken) receive(data);
  });
  model.on("theme", () => board.actions.set("theme", model.theme));
  watchConnection(model.document, board);
  model.on("remove", () => {
    keyboard.close();
    wire.close();
    board.close();
  });
  expose(board, wire, model.id ?? "component");
  send({do: "ready"});
}

// Bokeh's document says when its websocket is gone and when it is back.
function watchConnection(page, board) {
  page?.on_event?.("connection_lost", () => {
    board.connected = false;
    board.tick();
  });
  page?.on_event?.("client_reconnected", () => {
    board.connected = true;
    board.send({do: "ready"});
  });
}
