"""What a gateway looks up: which instruments a subscription means, and the books as they stood at a record."""

from __future__ import annotations

import re
import threading
from typing import Final, NamedTuple

import numpy as np

from mbo.book import Books
from mbo.book.snapshot import snapshot
from mbo.errors import ProtocolError
from mbo.live.messages import Writer
from mbo.live.protocol import ALL_SYMBOLS, Subscription
from mbo.live.session import Wanted, stamped
from mbo.live.source import Source
from mbo.symbols import Mapping

_FUTURE: Final = re.compile(
    r"([A-Z0-9]+)[FGHJKMNQUVXZ]\d{1,2}"
)  # root, month, year: what a raw symbol of CME looks like
STYPES: Final = ("raw_symbol", "instrument_id", "parent")


class Found(NamedTuple):
    """The instruments that a subscription means: (instrument id, as it was asked for, raw symbol), and what means none."""

    instruments: tuple[tuple[int, str, str], ...]
    unknown: tuple[str, ...]
    everything: bool

    @property
    def wanted(self) -> Wanted:
        """The same as a filter."""
        return Wanted(self.everything, frozenset(number for number, _, _ in self.instruments))

    def mappings(self, messages: Writer, stype_in: str, ts: int) -> bytes:
        """Write a symbol-mapping record for each."""
        return b"".join(messages.mapping(*one, ts, stype_in=stype_in) for one in self.instruments)


class Desk:
    """Answers for one source; every thread may ask."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._books = Books(symbols=source.symbol_map)
        self._at = 0  # how many records those have seen

    def find(self, subscription: Subscription) -> Found:
        """Look up the symbols of a subscription; `ProtocolError` at what this gateway does not serve."""
        if subscription.schema != "mbo":
            raise ProtocolError(f"schema {subscription.schema} is not served here: only mbo is")
        if subscription.stype_in not in STYPES:
            raise ProtocolError(f"stype_in {subscription.stype_in} is not served here: {', '.join(STYPES)} are")
        if ALL_SYMBOLS in subscription.symbols:
            known = self._source.symbol_map
            every = {(m.instrument_id, m.symbol, m.symbol): None for m in known}
            return Found(tuple(every), (), True)
        found: dict[tuple[int, str, str], None] = {}
        unknown = []
        for symbol in dict.fromkeys(subscription.symbols):
            own = self._named(symbol, subscription.stype_in)
            found |= dict.fromkeys(own)
            if not own:
                unknown.append(symbol)
        return Found(tuple(found), tuple(unknown), False)

    def _named(self, symbol: str, stype_in: str) -> list[tuple[int, str, str]]:
        known = self._source.symbol_map
        if stype_in == "instrument_id" and not known and symbol.isdigit():  # the file does not say what it holds
            return [(int(symbol), symbol, symbol)]
        return [(m.instrument_id, symbol, m.symbol) for m in known if _fits(m, symbol, stype_in)]

    def snapshots(self, number: int, wanted: Wanted, *, ts_out: bool = False) -> bytes:
        """Write the books of the instruments that are wanted as they stand when `number` records of the source have happened.

        The first one is at the cost of a replay up to there, a later one at that of what lies between.
        """
        with self._lock:
            if number < self._at or self._source.turn_of(number) > self._at:
                self._books, self._at = Books(symbols=self._source.symbol_map), self._source.turn_of(number)
            for records in self._source.between(self._at, number):
                self._books.apply(records)
            self._at = number
            now = self._source.time_of(number - 1) if number else self._source.time_of(0)
            parts = [
                snapshot(book, ts_recv=now)
                for (_, instrument_id), book in self._books.items()
                if wanted.everything or instrument_id in wanted.ids
            ]
        return bytes(stamped(np.concatenate(parts), ts_out)) if parts else b""


def _fits(mapping: Mapping, symbol: str, stype_in: str) -> bool:
    if stype_in == "instrument_id":
        return str(mapping.instrument_id) == symbol
    root, _, kind = symbol.partition(".")
    return mapping.symbol == symbol or (stype_in == "parent" and kind == "FUT" and _is_future(mapping.symbol, root))


def _is_future(symbol: str, root: str) -> bool:
    """Say whether a raw symbol is a future of this root, or a spread of two or more of them."""
    legs = [_FUTURE.fullmatch(leg) for leg in symbol.split("-")]
    return all(leg is not None and leg[1] == root for leg in legs)
