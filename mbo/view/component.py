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
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self.viewer.begin(self.state)

    def _handle_msg(self, data: Any) -> None:
        self.viewer.handle(data)
        if isinstance(data, dict) and data.get("do") == "ready":
            self._begin(state.curdoc)
        if self.viewer.state and self.viewer.state != self.state:
            self.state = self.viewer.state

    def _begin(self, document: Any) -> None:
        _without_delay(document)
        if document is not None and document.session_context is not None:
            document.on_session_destroyed(lambda _: self.close())
        self._hub.add(self.viewer, self._program, functools.partial(self._send, document))

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


def _without_delay(document: Any) -> None:
    """Have small frames leave at once: Tornado leaves Nagle's algorithm on, at 40 ms for a frame that waits for its answer."""
    session = getattr(getattr(document, "session_context", None), "session", None)
    for connection in getattr(session, "_subscribed_connections", ()):
        socket = getattr(connection, "_socket", None)
        if socket is not None and hasattr(socket, "set_nodelay"):
            socket.set_nodelay(True)


def ladder(day: Records, symbol: str | None = None, **params: Any) -> Ladder:
    """Show a day's books in a notebook's cell; see `mbo.Records.ladder`."""
    from mbo.view.program import Recorded

    pn.extension()
    return Ladder(Recorded.of(day), symbol=symbol, **params)
