"""Following: viewers of a live stream's books, which all see the same moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mbo.errors import MboError
from mbo.view.flow import Flow
from mbo.view.scene import Drawn, Moment, Scene
from mbo.view.viewer import Viewer, meta_of, orders_of

if TYPE_CHECKING:
    from mbo.live.latency import Latency
    from mbo.records import RecordArray
    from mbo.view.history import History
    from mbo.view.live import Live
    from mbo.view.stage import Key


class Following(Viewer):
    """A live stream's book. What is the same for all who see it is drawn once, by a `Stall` that they share."""

    def __init__(self, stall: Stall, *, symbol: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall = stall
        self.key = stall.live.key_of(symbol)
        super().__init__(clock=clock)

    @property
    def history(self) -> History:
        """Since the stream was joined."""
        return self._stall.live.stage.histories[self.key]

    def moment(self) -> Moment:
        """Give the last one that was taken in."""
        return self._stall.moment(self.key)

    def _advance(self) -> None:
        records = self._stall.fresh.get(self.key)
        if self.follow is not None and records is not None and len(records):
            self.follow.see(records, self.moment().book)

    def flow_total(self) -> int:
        """Give the order-flow imbalance since somebody first asked for this book's."""
        return self._stall.flow_total(self.key)

    def _draw(self) -> Drawn:
        return self._stall.draw(self.key)

    def _stale(self) -> bool:
        return self._stall.live.feed.stale

    def _icebergs(self) -> Mapping[int, int]:
        return self._stall.live.stage.icebergs[self.key]

    def _records(self) -> None:
        return None

    def _meta(self) -> dict[str, Any]:
        live = self._stall.live
        return meta_of(
            self.history, source="live", name=live.url, symbol=live.name_of(self.key), symbols=live.symbols,
            dataset=live.feed.dataset or "", end=None, simulated=False, epoch=f"{live.begun}.{self.history.epoch}.{self.key[1]}",
        )  # fmt: skip

    def _status(self) -> dict[str, Any]:
        return self._stall.status(self.key)

    def _switch(self, symbol: str) -> None:
        self.key = self._stall.live.key_of(symbol)

    def _clear(self) -> None:
        self._stall.scene(self.key).cleared_ns = self.moment().now_ns


class Stall:
    """A live stream's moments, each drawn once a turn for all who see the same book."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.fresh: dict[Key, RecordArray] = {}
        """What the last turn took in, by book."""
        self._scenes: dict[Key, Scene] = {}
        self._drawn: dict[Key, Drawn] = {}
        self._flows: dict[Key, Flow] = {}

    def turn(self) -> None:
        """Take in what has come."""
        self.fresh = self.live.turn()
        if self.fresh:
            self._drawn.clear()
        for key, flow in self._flows.items():
            if key in self.fresh:
                flow.add(self.fresh[key])

    def scene(self, key: Key) -> Scene:
        """Give the scene of a book."""
        history = self.live.stage.histories[key]
        if key not in self._scenes or self._scenes[key].history is not history:
            self._scenes[key] = Scene(history)
        return self._scenes[key]

    def flow_total(self, key: Key) -> int:
        """Give a book's order-flow imbalance since somebody first asked."""
        if key not in self._flows:
            self._flows[key] = Flow(self.moment(key).book)
        return self._flows[key].total

    def moment(self, key: Key) -> Moment:
        """Give a book as it stands."""
        stage = self.live.stage
        book = stage.books.get(key)
        history = stage.histories[key]
        if book is None:
            return Moment(None, stage.latest, 0, 0, history.trades_end, synced=False, suspect=False)
        status = book.status
        return Moment(
            book, stage.latest, status.messages, status.events, history.trades_end, status.synced, status.suspect
        )

    def draw(self, key: Key) -> Drawn:
        """Draw a book, once for all."""
        if key not in self._drawn:
            self._drawn[key] = self.scene(key).draw(self.moment(key))
        return self._drawn[key]

    def failure(self) -> MboError | None:
        """Give the error that ended the feed, if one has."""
        try:
            self.live.feed.wait(0)
        except TimeoutError:
            return None
        except MboError as error:
            return error
        return None

    def status(self, key: Key) -> dict[str, Any]:
        """Say how the stream stands."""
        live, feed = self.live, self.live.feed
        status, book = feed.status, self.moment(key).book
        state = (
            "ended" if status.ended else "live" if not status.stale else "stale" if status.connected else "reconnecting"
        )
        reason = "" if state == "live" else "the connection is lost" if not status.connected else "records are missing"
        failure = self.failure()
        if failure is not None:
            state, reason = "lost", str(failure)
        return {
            "state": state, "reason": "" if state == "ended" else reason, "rate": round(live.rate), "gaps": status.gaps,
            "reconnects": max(0, status.connections - 1), "skipped": live.skipped, "latency_us": _latency(feed.latency),
            "anomalies": {} if book is None else {rule: one.count for rule, one in book.anomalies.items()},
            "orders": orders_of(book),
        }  # fmt: skip


def _latency(latency: Latency) -> list[float] | None:
    """Give p50, p99 and p99.9 in microseconds, once there are enough."""
    if latency.count < 1000:
        return None
    return [round(latency.percentile(share) / 1e3, 1) for share in (50, 99, 99.9)]
