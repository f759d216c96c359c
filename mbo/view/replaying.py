"""Replaying: a viewer of a file's or a stored day's book, at a place of its own in it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mbo.errors import RequestError
from mbo.view.flow import Flow
from mbo.view.player import Player
from mbo.view.queue import Follow
from mbo.view.scene import Drawn, Moment, Scene
from mbo.view.viewer import Viewer, meta_of, number_of, orders_of

if TYPE_CHECKING:
    from mbo.records import RecordArray
    from mbo.view.history import History
    from mbo.view.index import Index

_BEGIN_S: Final = 2.0  # for an index that has to be far enough first


class Replay(Viewer):
    """A file's or a stored day's book, at the viewer's own place in it. `open_index` gives the index of a symbol."""

    def __init__(
        self,
        open_index: Callable[[str | None], Index],
        symbols: Sequence[str],
        *,
        symbol: str | None = None,
        source: str = "replay",
        name: str = "",
        simulated: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open, self._symbols = open_index, symbols
        self._source, self._file_name, self._simulated = source, name, simulated
        self._taken = 0
        self._counted = clock(), 0
        self._take(open_index(symbol), None, clock)
        super().__init__(clock=clock)

    def _take(self, index: Index, speed: float | None, clock: Callable[[], float]) -> None:
        self.index = index
        self.player = Player(index, speed=1.0 if speed is None else speed, clock=clock)
        self._scene = Scene(index.history)
        self._flow: Flow | None = None
        self._drawn: tuple[tuple[int, int, int], Drawn] | None = None
        self._taken += 1

    @property
    def history(self) -> History:
        """Of the file."""
        return self.index.history

    def moment(self) -> Moment:
        """Give the player's."""
        player, history = self.player, self.history
        return Moment(
            player.book, player.now_ns, player.place, player.events, history.trades_before(player.place), player.synced,
            player.suspect,
        )  # fmt: skip

    def _advance(self) -> None:
        self._see(self.player.turn())

    def flow_total(self) -> int:
        """Give the order-flow imbalance since the charts were opened, or since the last jump."""
        if self._flow is None:
            self._flow = Flow(self.player.book)
        return self._flow.total

    def _see(self, records: RecordArray) -> None:
        if self._flow is not None:
            self._flow.add(records)
        if self.follow is not None and len(records):
            self.follow.see(records, self.player.book)

    def _draw(self) -> Drawn:
        moment = self.moment()
        seen = moment.now_ns, moment.place, self._scene.cleared_ns
        if self._drawn is None or self._drawn[0] != seen:  # a book that stands still is not drawn again
            self._drawn = seen, self._scene.draw(moment)
        return self._drawn[1]

    def _motion(self) -> dict[str, Any]:
        return {"playing": self.player.playing, "speed": self.player.speed}

    def _icebergs(self) -> Mapping[int, int]:
        return self.index.icebergs

    def _records(self) -> RecordArray:
        return self.index.records[: self.player.place]

    def _meta(self) -> dict[str, Any]:
        return meta_of(
            self.history, source=self._source, name=self._file_name, symbol=self.index.symbol, symbols=list(self._symbols),
            dataset=self.index.source.dataset, end=self.index.end_ns - self.index.begin_ns, simulated=self._simulated,
            epoch=f"{self._taken}.{self.history.epoch}",
        )  # fmt: skip

    def _status(self) -> dict[str, Any]:
        player = self.player
        state = "replay" if player.playing else "ended" if player.ended else "paused"
        reason = "" if self.index.error is None else str(self.index.error)
        loaded = self.index.reached / max(1, len(self.index.records))
        return {
            "state": state if not reason else "lost", "reason": reason, "rate": self._count_rate(), "gaps": 0, "reconnects": 0,
            "anomalies": player.anomalies, "latency_us": None, "loaded": round(loaded, 4), "orders": orders_of(player.book),
        }  # fmt: skip

    def _count_rate(self) -> float:
        now, place = self._clock(), self.player.place
        then, before = self._counted
        self._counted = now, place
        return round(max(0, place - before) / (now - then)) if now > then else 0.0

    # ------------------------------------------------------------ control

    def _commands(self) -> Mapping[str, Callable[[Mapping[str, Any]], None]]:
        return {
            **super()._commands(),
            "play": lambda message: self.player.play(),
            "pause": lambda message: self.player.pause(),
            "toggle": lambda message: self.player.pause() if self.player.playing else self.player.play(),
            "seek": lambda message: self.seek(self.history.begin_ns + int(number_of(message, "t"))),
            "step": self._on_step,
            "speed": self._on_speed,
        }

    def begin(self, state: Mapping[str, Any]) -> None:
        """Begin where a page's address says that somebody stopped (`t`, ns since the beginning), or else to play."""
        place = state.get("t")
        if isinstance(place, int | float) and not isinstance(place, bool) and 0 <= place < 2**62:
            with contextlib.suppress(TimeoutError):  # then as far as it has come
                self.index.wait(_BEGIN_S)
            self.seek(self.history.begin_ns + int(place))
        else:
            self.player.play()

    def seek(self, time_ns: int) -> None:
        """Go to an instant."""
        self.player.seek(time_ns)
        self._retrace()

    def _on_ready(self, message: Mapping[str, Any]) -> None:
        super()._on_ready(message)
        self.player.wake()

    def _on_step(self, message: Mapping[str, Any]) -> None:
        events = int(number_of(message, "events"))
        if not -1000 <= events <= 1000:
            raise RequestError(f"{events} events are too many for a step: at most 1,000")
        records = self.player.step(events)
        if events > 0:
            self._see(records)
        else:
            self._retrace()

    def _on_speed(self, message: Mapping[str, Any]) -> None:
        self.player.speed = number_of(message, "x")

    def _retrace(self) -> None:
        """Find the followed order's life up to here anew, and sum the order flow from here on."""
        self._flow = None
        if self.follow is not None:
            self.follow = Follow(self.follow.order_id, self.history)
            self.follow.see(self._records(), self.player.book)

    def _switch(self, symbol: str) -> None:
        now, playing = self.player.now_ns, self.player.playing
        self._take(self._open(symbol), self.player.speed, self._clock)
        self.player.seek(now)
        if playing:
            self.player.play()

    def _clear(self) -> None:
        self._scene.cleared_ns = self.player.now_ns
