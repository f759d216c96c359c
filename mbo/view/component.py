"""The component for notebooks and dashboards: a canvas in the browser, told what to draw by a viewer in this process."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Final

import param

from mbo.view.bundle import esm
from mbo.view.hub import HUB, Hub

try:
    import panel as pn
    from panel.custom import JSComponent
    from panel.io.state import set_curdoc, state

    from mbo.view.wire import Wire, offer
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("the ladder needs Panel: pip install 'mbo-books[dashboard]'") from missing

if TYPE_CHECKING:
    from mbo.replay import Records
    from mbo.view.program import Program

HEIGHT: Final = 720


class Ladder(JSComponent):
    """Ladder, heatmap, tape, depth and queue of a program's books; see `mbo.view`. One viewer, and one place in a replay, each."""

    state = param.Dict(default={}, doc="What the viewer has chosen: symbol, theme, palette, grouping and the like.")
    theme = param.Selector(default="dark", objects=["dark", "light"])
    whole_page = param.Boolean(default=False, doc="Whether keys are meant for it before anybody has clicked on it.")

    _esm: ClassVar[str] = esm()

    def __init__(self, program: Program, *, symbol: str | None = None, hub: Hub = HUB, **params: Any) -> None:
        params.setdefault("sizing_mode", "stretch_width")
        if params["sizing_mode"] != "stretch_both":
            params.setdefault("height", HEIGHT)
        self.viewer = program.viewer(symbol)
        self._hub, self._program = hub, program
        self._wire: Wire | None = None
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self.viewer.begin(self.state)

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("do") == "ready":
            self._begin(state.curdoc)
        else:
            self.viewer.handle(data)
        if self.viewer.state and self.viewer.state != self.state:
            self.state = self.viewer.state

    def _begin(self, document: Any) -> None:
        self.close()
        self.viewer.handle({"do": "ready"})
        self._hub.add(self.viewer, self._program, functools.partial(self._send, document))
        if document is not None and document.session_context is not None:
            document.on_session_destroyed(lambda _: self.close())
        wire = Wire(taken=lambda: self._take(wire), heard=self._hear, lost=self.close)
        if any(offer(application, wire) for application in _applications(document)):
            self._wire = wire
            self._send_msg(wire.token)

    def _take(self, wire: Wire) -> None:
        # What is still under way by the other path, the page leaves unread: everything is sent anew.
        self.viewer.handle({"do": "ready"})
        self._hub.add(self.viewer, self._program, wire.send)

    def _hear(self, message: Any) -> None:
        if isinstance(message, dict) and message.get("do") == "ack":
            self.viewer.handle(message)

    def _send(self, document: Any, frame: bytes) -> None:
        session = getattr(getattr(document, "session_context", None), "session", None)
        if getattr(session, "connection_count", 1) == 0:
            self.close()  # the page is gone; should it come back, it says that it is ready
            return
        with set_curdoc(document):
            self._send_msg(frame)

    def close(self) -> None:
        """Draw no further, until the page says again that it is ready."""
        self._hub.remove(self.viewer)
        self.viewer.ready = False
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def _applications(document: Any) -> list[Any]:
    """Find what serves a page: nothing in a notebook. On the way, have its small messages leave at once.

    Tornado leaves Nagle's algorithm on, at 40 ms for a small frame that waits for its answer.
    """
    session = getattr(getattr(document, "session_context", None), "session", None)
    links = getattr(session, "_subscribed_connections", ())
    sockets: list[Any] = [getattr(link, "_socket", None) for link in links]
    for socket in sockets:
        if hasattr(socket, "set_nodelay"):
            socket.set_nodelay(True)
    return [getattr(socket, "application", None) for socket in sockets]


def ladder(day: Records, symbol: str | None = None, **params: Any) -> Ladder:
    """Show a day's books in a notebook's cell; see `mbo.Records.ladder`."""
    from mbo.view.program import Recorded

    pn.extension()
    return Ladder(Recorded.of(day), symbol=symbol, **params)
