"""What a gateway looks up: which instruments a subscription means, and the books as they stood at a record."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mbo.errors import ProtocolError
from mbo.live.messages import Writer
from mbo.live.protocol import ALL_SYMBOLS, Subscription
from mbo.live.session import Wanted, stamped
from mbo.live.source import Source
from mbo.records import MBO_DTYPE, RTYPE_MBO, Action, Flag, RecordArray, Side
from mbo.selection import book_keys
from mbo.symbols import Mapping
from mbo.units import UNDEF_PRICE

if TYPE_CHECKING:
    from mbo.book import Books
    from mbo.book.engine import Key

_FUTURE: Final = re.compile(
    r"([A-Z0-9]+)[FGHJKMNQUVXZ]\d{1,2}"
)  # root, month, year: what a raw symbol of CME looks like
_IS_ID: Final = re.compile("0|[1-9][0-9]{0,9}")
_STEP: Final = 1 << 18  # records whose books are looked up in one go
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
        self._books: Books | None = None  # the compiler is not loaded for clients that never ask for a snapshot
        self._at = 0  # how many records those have seen
        self._keys: tuple[Key, ...] | None = None  # of all books of the source, once somebody has asked
        self._names: dict[str, dict[str, list[Mapping]]] = {}  # by kind of name, as they are first asked for

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
        if stype_in == "instrument_id" and not known:  # the file does not say what it holds
            own = [symbol] if _IS_ID.fullmatch(symbol) and int(symbol) < 2**32 else []
            return [(int(number), number, number) for number in own]
        if stype_in not in self._names:
            names: dict[str, list[Mapping]] = {}
            for mapping in known:
                for name in _names_of(mapping, stype_in):
                    names.setdefault(name, []).append(mapping)
            self._names[stype_in] = names
        return [(m.instrument_id, symbol, m.symbol) for m in self._names[stype_in].get(symbol, ())]

    def snapshots(self, number: int, wanted: Wanted, *, ts_out: bool = False, afresh: bool = False) -> bytes:
        """Write the books of the instruments that are wanted as they stand when `number` records of the source have happened.

        With `afresh`, for a client that comes from elsewhere, those that have no record yet are cleared. The first snapshot is at
        the cost of a replay up to there, a later one at that of what lies between.
        """
        from mbo.book import Books
        from mbo.book.snapshot import snapshot

        with self._lock:
            books = self._books
            if books is None or number < self._at or self._source.turn_of(number) > self._at:
                books, self._at = Books(symbols=self._source.symbol_map), self._source.turn_of(number)
                self._books = books
            for records in self._source.between(self._at, number):
                books.apply(records)
            self._at = number
            now = self._source.time_of(number - 1 if number else 0)
            parts = [snapshot(book, ts_recv=now) for key, book in books.items() if wanted.has(key[1])]
            if afresh:
                parts += [_unknown(key, now) for key in self._every_key() if key not in books and wanted.has(key[1])]
        return bytes(stamped(np.concatenate(parts), ts_out)) if parts else b""

    def _every_key(self) -> tuple[Key, ...]:
        if self._keys is None:
            found: set[int] = set()
            records = self._source.records
            for begin in range(0, len(records), _STEP):
                found.update(np.unique(book_keys(records[begin : begin + _STEP])).tolist())
            self._keys = tuple((key >> 32, key & 0xFFFFFFFF) for key in sorted(found))
        return self._keys


def _unknown(key: Key, now: int) -> RecordArray:
    """Make the snapshot of a book of which nothing is known yet."""
    clear = np.zeros(1, MBO_DTYPE)
    clear["length"], clear["rtype"] = MBO_DTYPE.itemsize // 4, RTYPE_MBO
    clear["publisher_id"], clear["instrument_id"] = key
    clear["action"], clear["side"], clear["price"] = Action.CLEAR, Side.NONE, UNDEF_PRICE
    clear["ts_recv"] = clear["ts_event"] = now
    clear["flags"] = Flag.LAST | Flag.SNAPSHOT | Flag.BAD_TS_RECV | Flag.MAYBE_BAD_BOOK
    return clear


def _names_of(mapping: Mapping, stype_in: str) -> Iterator[str]:
    """Give the names of this kind by which an instrument may be asked for."""
    if stype_in == "instrument_id":
        yield str(mapping.instrument_id)
        return
    yield mapping.symbol
    roots = {leg and leg[1] for leg in map(_FUTURE.fullmatch, mapping.symbol.split("-"))}
    if (
        stype_in == "parent" and len(roots) == 1 and None not in roots
    ):  # a future, or a spread of two or more of one root
        yield f"{roots.pop()}.FUT"
