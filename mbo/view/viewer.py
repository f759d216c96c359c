"""Viewers: one person's look at a book as frames; what they asked for, and what they have been sent."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mbo.errors import MboError, RequestError
from mbo.units import PRICE_SCALE
from mbo.view.frame import Part, pack, part
from mbo.view.history import CELLS, History, shade
from mbo.view.player import SPEEDS
from mbo.view.queue import Follow, queue
from mbo.view.scene import Drawn, Moment

if TYPE_CHECKING:
    from mbo.records import RecordArray

_COLUMNS: Final = 256  # in one frame: 64 kB
_TRADES: Final = 20_000  # of the past, for one who comes or goes elsewhere
_STATUS_S: Final = 0.25
_WINDOWS: Final = (
    (0.08, 8),
    (0.12, 4),
    (0.2, 2),
    (float("inf"), 1),
)  # frames under way, by how long the last acknowledged one was (s)
_SLOW_S, _FAST_S, _LONGEST_PAUSE_S = 0.12, 0.1, 0.25
"""A page that takes longer than the first gets fewer frames, so that each is drawn sooner, until it takes less than the second."""
_UNSEEN_S: Final = 0.25  # between two steps that nobody sees, as no frame may be sent
_LOST_S: Final = 5.0  # after which a frame that nobody acknowledged is taken for lost
_UNSAID: Final = object()
_MESSAGES: Final = 4096  # characters of a symbol or an id, at most


class Viewer(ABC):
    """What one person sees. `turn` gives the next frame, or None where nothing has changed or too many are still under way.

    `handle` takes what the component says: see `COMMANDS`.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.ready = False
        self.number = self.acknowledged = 0
        self._window = _WINDOWS[1][1]
        self._pause_s = 0.0
        self._advanced_at = float("-inf")
        self._under_way: deque[tuple[int, float]] = deque(maxlen=16)
        self.state: dict[str, Any] = {}
        """What the component would like to find again: it goes into the page's address."""
        self.server_ms = 0.0
        self._sent_at = self._status_at = float("-inf")
        self._meta_sent: dict[str, Any] | None = None
        self._sent_parts: dict[str, bytes] = {}
        self._sent_header: dict[str, Any] = {}
        self._notices: list[dict[str, str]] = []
        self.selected: tuple[str, int] | None = None
        self.follow: Follow | None = None
        self._status_sent: dict[str, Any] = {}
        self._forget()

    def _forget(self) -> None:
        """Send everything anew: another book, or a history that has begun anew."""
        self._columns = np.zeros(self.history.capacity, bool)
        self._of = self.history, self.history.epoch
        self._trades = (0, 0)  # numbers of those that the component has
        self._sent_parts.clear()
        self._sent_header = {}
        self._queue_sent: Any = _UNSAID
        self._order_sent: Any = _UNSAID
        self._meta_sent = None

    # ------------------------------------------------------------ what there is to see

    @property
    @abstractmethod
    def history(self) -> History:
        """Of the book that is shown."""

    @abstractmethod
    def moment(self) -> Moment:
        """Give what is shown now."""

    @abstractmethod
    def _advance(self) -> None:
        """Go on to now."""

    @abstractmethod
    def _draw(self) -> Drawn:
        """Draw the moment."""

    @abstractmethod
    def _meta(self) -> dict[str, Any]:
        """Describe what stays: names, the axis, what can be controlled."""

    @abstractmethod
    def _status(self) -> dict[str, Any]:
        """Say how the source stands."""

    @abstractmethod
    def _icebergs(self) -> Mapping[int, int]:
        """By order id, from which record on an order is known to be an iceberg."""

    @abstractmethod
    def _records(self) -> RecordArray | None:
        """Give all records up to the moment, where they can be had."""

    def _motion(self) -> dict[str, Any]:
        return {"playing": True, "speed": 1}

    # ------------------------------------------------------------ frames

    @property
    def credit(self) -> bool:
        """Whether one more frame may be sent before the component has said that it drew the earlier ones."""
        since = self._clock() - self._sent_at
        if self.number - self.acknowledged < self._window:
            return since >= self._pause_s
        if since > _LOST_S:
            self.acknowledged = self.number  # a page that slept, or a connection that was made again
            self._under_way.clear()
            return True
        return False

    def turn(self) -> bytes | None:
        """Go on to now, and give the frame that shows it."""
        begin = self._clock()
        wanted = self.ready and self.credit
        if wanted or begin - self._advanced_at >= _UNSEEN_S:
            self._advanced_at = begin
            self._advance()
        if not wanted:
            return None
        history, epoch = self._of
        if history is not self.history:  # another axis: what was chosen on the old one means nothing on it
            self.selected = self.follow = None
            self._forget()
        elif history.epoch != epoch:
            self._forget()
        drawn = self._draw()
        header, parts = self._own(drawn)
        changed = {name: one for name, one in parts.items() if self._sent_parts.get(name) != one[0]}
        told = {key: value for key, value in header.items() if self._sent_header.get(key, self) != value}
        news = self._news(drawn.header["columns_shown"], drawn.header["trades_shown"], drawn, changed)
        if not (changed or told or news):
            return None
        self._sent_header = header
        self._sent_parts |= {name: one[0] for name, one in changed.items() if name in parts}
        self.number += 1
        self._sent_at = self._clock()
        self._under_way.append((self.number, self._sent_at))
        self.server_ms += 0.1 * ((self._clock() - begin) * 1e3 - self.server_ms)
        return pack({"n": self.number, "clock_ms": time.time_ns() / 1e6, **header, **news}, changed)

    def _own(self, drawn: Drawn) -> tuple[dict[str, Any], dict[str, Part]]:
        header = drawn.header | self._motion()
        header["flags"] = header["flags"] | {"stale": self._stale()}
        return header, drawn.parts

    def _stale(self) -> bool:
        return False

    def _news(self, column: int, trades: int, drawn: Drawn, parts: dict[str, Part]) -> dict[str, Any]:
        """Give what is told once, and add what the component has not got of the past."""
        news: dict[str, Any] = {}
        meta = self._meta()
        if meta != self._meta_sent:
            news["meta"] = self._meta_sent = meta
        if self._clock() - self._status_at >= _STATUS_S:
            self._status_at = self._clock()
            news["status"] = self._status_sent = self._status() | {"server_ms": round(self.server_ms, 3)}
        if self._notices:
            news["notice"] = self._notices.pop(0)
        self._add_columns(column, drawn, parts)
        self._add_trades(trades, parts, news)
        self._add_queue(parts, news)
        return news

    def _add_columns(self, column: int, drawn: Drawn, parts: dict[str, Part]) -> None:
        """Add columns of the past, the latest first, and the one that now lies in."""
        history = self.history
        missing = np.flatnonzero(~self._columns[: min(column, history.count)])[: -_COLUMNS - 1 : -1]
        head = drawn.cells.tobytes()
        if not len(missing) and self._sent_parts.get("head") == head + column.to_bytes(8, "little"):
            return
        self._sent_parts["head"] = head + column.to_bytes(8, "little")
        self._columns[missing] = True
        if column < len(self._columns):
            self._columns[column] = False  # it is not over: the whole one follows
        rows = np.concatenate([drawn.column, history.columns[missing]])
        cells = np.concatenate([drawn.cells, history.cells[missing]])
        if len(rows):
            parts["columns"] = part(rows)
            parts["cells"] = shade(cells).tobytes(), len(cells)

    def _add_trades(self, shown: int, parts: dict[str, Part], news: dict[str, Any]) -> None:
        begin, end = self._trades
        if shown <= end and (shown > begin or begin == 0):
            return
        first = end if begin <= end <= shown and end > 0 and shown - end <= _TRADES else max(0, shown - _TRADES)
        first = max(first, self.history.trades_begin)
        if first != end or end == 0:
            news["trades_reset"] = True
            begin = first
        rows = self.history.trades(first, shown)
        news["trades_from"] = first
        parts["trades"] = part(rows)
        self._trades = begin, shown

    def _add_queue(self, parts: dict[str, Part], news: dict[str, Any]) -> None:
        moment = self.moment()
        described: Any = None
        if self.selected is not None:
            followed = None if self.follow is None else self.follow.order_id
            place = moment.place
            described, rows = queue(moment.book, self.history, *self.selected, self._icebergs(), place, followed)
            described["rows"] = rows[0]
        if described != self._queue_sent:
            self._queue_sent = described
            if described is not None:
                described = dict(described)
                parts["queue"] = described.pop("rows"), described["shown"]
            news["queue"] = described
        order = None if self.follow is None else self.follow.document(moment.book)
        if order != self._order_sent:
            news["order"] = order
            self._order_sent = None if order is None else order | {"life": [list(entry) for entry in order["life"]]}

    def figures(self) -> dict[str, Any]:
        """Give what small charts show: time (ms since 1970), mid, spread (ticks), order flow, messages a second, latencies (µs)."""
        moment, ticks = self.moment(), self.history.ticks
        bid, ask = moment.book.bbo if moment.book is not None else (None, None)
        status = self._status_sent
        latency = status.get("latency_us") or [None] * 3
        return {
            "time": moment.now_ns / 1e6,
            "mid": (bid.price + ask.price) / 2 / PRICE_SCALE if bid is not None and ask is not None else None,
            "spread": (ask.price - bid.price) / ticks.size if bid is not None and ask is not None else None,
            "flow": self.flow_total(),
            "rate": status.get("rate"),
            **dict(zip(("p50", "p99", "p999"), latency, strict=True)),
        }

    @abstractmethod
    def flow_total(self) -> int:
        """Give the order-flow imbalance summed since somebody first asked; see `Flow`."""

    # ------------------------------------------------------------ what the component says

    def handle(self, message: Any) -> None:
        """Do what a message asks; one that cannot be done is answered with a notice."""
        try:
            command = text_of(message, "do")
            if command not in self._commands():
                raise RequestError(f"{command!r} cannot be done here")
            self._commands()[command](message)
        except MboError as error:
            self.tell("warning", str(error))

    def tell(self, level: str, text: str) -> None:
        """Have the component show a sentence."""
        if len(self._notices) < 8:
            self._notices.append({"level": level, "text": text[:500]})

    def _commands(self) -> Mapping[str, Callable[[Mapping[str, Any]], None]]:
        return {
            "ready": self._on_ready,
            "ack": self._on_ack,
            "select": self._on_select,
            "follow": self._on_follow,
            "symbol": lambda message: self.show(text_of(message, "symbol")),
            "clear": lambda message: self._clear(),
            "state": self._on_state,
        }

    def _on_ready(self, message: Mapping[str, Any]) -> None:
        self._forget()
        self.ready, self.acknowledged = True, self.number
        self._under_way.clear()
        self._status_at = float("-inf")

    def _on_ack(self, message: Mapping[str, Any]) -> None:
        self.acknowledged = max(self.acknowledged, min(int(number_of(message, "n")), self.number))
        while self._under_way and self._under_way[0][0] <= self.acknowledged:
            took = self._clock() - self._under_way.popleft()[1]
            self._window = next(window for limit, window in _WINDOWS if took <= limit)
            if took > _SLOW_S:
                self._pause_s = min(_LONGEST_PAUSE_S, 1.2 * self._pause_s + 0.01)
            elif took < _FAST_S:
                self._pause_s = max(0.0, 0.9 * self._pause_s - 0.001)

    def _on_select(self, message: Mapping[str, Any]) -> None:
        if message.get("side") is None:
            self.selected = None
            return
        side = text_of(message, "side")
        if side not in ("bid", "ask"):
            raise RequestError(f"{side!r} is not a side: it is 'bid' or 'ask'")
        self.selected = side, int(number_of(message, "tick"))

    def _on_follow(self, message: Mapping[str, Any]) -> None:
        if message.get("order_id") is None:
            self.follow = None
            return
        order_id = text_of(message, "order_id")
        if not (order_id.isascii() and order_id.isdigit() and int(order_id) < 2**64):
            raise RequestError(f"{order_id[:40]!r} is not an order id")
        self.follow = Follow(int(order_id), self.history)
        records = self._records()
        if records is not None:
            self.follow.see(records, self.moment().book)

    def _on_state(self, message: Mapping[str, Any]) -> None:
        state = message.get("state")
        if not isinstance(state, dict) or len(str(state)) > _MESSAGES:
            raise RequestError("a state is a small table of names and values")
        self.state = state

    def show(self, symbol: str) -> None:
        """Show another instrument."""
        self.selected = self.follow = None
        self._switch(symbol)
        self._forget()

    def begin(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - a live stream has but one present
        """Begin as a page's address says."""

    @abstractmethod
    def _switch(self, symbol: str) -> None:
        """Take another instrument."""

    @abstractmethod
    def _clear(self) -> None:
        """Let trades count as recent from now on only."""


def meta_of(history: History, *, end: int | None, **names: Any) -> dict[str, Any]:
    """Describe what stays of a source: its names, the axes, and what can be controlled."""
    replay = end is not None
    ticks = history.ticks
    return {
        **names,
        "t0_ns": str(history.begin_ns),
        "begin": 0,
        "end": end,
        "tick_ns": str(ticks.size),
        "offset": str(ticks.offset),
        "tick_inferred": ticks.inferred,
        "decimals": ticks.decimals,
        "column_ns": history.column_ns,
        "capacity": history.capacity,
        "cells": CELLS,
        "controls": dict.fromkeys(("play", "seek", "step", "speed"), replay) | {"symbols": len(names["symbols"]) > 1},
        "speeds": list(SPEEDS) if replay else [],
    }


def orders_of(book: Any) -> int:
    """Count a book's orders, none where there is no book."""
    return 0 if book is None else book.status.orders


def text_of(message: Any, name: str) -> str:
    """Take a text out of a message; `RequestError` where there is none, or a very long one."""
    value = message.get(name) if isinstance(message, dict) else None
    if not isinstance(value, str) or len(value) > _MESSAGES:
        raise RequestError(f"a message needs a text {name!r}")
    return value


def number_of(message: Mapping[str, Any], name: str) -> float:
    """Take a number out of a message; `RequestError` where there is none."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise RequestError(f"a message needs a number {name!r}")
    return value
