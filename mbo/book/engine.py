"""The fast book: `Books` holds every instrument of a stream in shared arrays, `Book` is the view of one of them."""

from __future__ import annotations

import copy
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mbo import _jit
from mbo.book import _kernels as rules
from mbo.book import _queue_kernels as queues
from mbo.book import _state_kernels as arrays
from mbo.book._ahead_kernels import AHEAD
from mbo.book.interface import ANOMALIES, Anomaly, EqualSize, L3Book, SideLike, Status, as_side, equal_loses
from mbo.book.rows import LEVEL_DTYPE, ORDER_DTYPE, Order
from mbo.errors import RequestError, RuleError, SymbolError
from mbo.records import MBO_DTYPE, RecordArray, Side, as_records
from mbo.symbols import SymbolMap

Kernel = Callable[[arrays.State, RecordArray, npt.NDArray[np.int64], int], tuple[int, int]]
"""Applies `records[start:]` to the state and returns (status, how many of the records are applied)."""
Key = tuple[int, int]
"""(publisher_id, instrument_id): what tells one book from another."""

_RULES: Final = tuple(ANOMALIES)
_NO_ROWS: Final = np.empty(0, np.int64)
_EQUAL: Final = {"venue": rules.EQUAL_BY_VENUE, "loses": rules.EQUAL_LOSES, "keeps": rules.EQUAL_KEEPS}
# Small at first, so that a small book stays in the first-level cache; doubled whenever one is full.
_ORDERS, _LEVELS, _RUNGS, _BOOKS = 256, 64, 128, 4
_AHEAD_FROM: Final = 1 << 13
"""Orders in the pool from which on the kernels read ahead: about where the second-level cache begins to overflow."""


def numbers_of(
    records: RecordArray, rows: int | npt.NDArray[np.int64] | None
) -> tuple[int | None, npt.NDArray[np.int64]]:
    """Take row numbers as `apply` is given them: (the first one's or None, every record's or none)."""
    if rows is None or isinstance(rows, int | np.integer):
        return None if rows is None else int(rows), _NO_ROWS
    numbers = np.array(rows, np.int64)  # a copy: kernels are compiled for arrays that can be written
    if len(numbers) != len(records):
        raise RequestError(f"{len(numbers)} row numbers for {len(records)} records")
    return None, numbers


class OneThread:
    """While one thread is within, another is refused; a copy has none within."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RequestError("another thread is applying records to these books: give each thread its own")

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[OneThread], tuple[()]]:
        return OneThread, ()


class BooksByKey(Mapping[Key, "Book"]):
    """The books of every instrument in a stream of MBO records, by (publisher_id, instrument_id)."""

    symbols: SymbolMap

    @abstractmethod
    def apply(self, records: RecordArray, *, rows: int | npt.NDArray[np.int64] | None = None) -> None:
        """Apply MBO records; `rows` are the numbers they have in their stream, or the first one's, for the anomalies."""

    def book(self, symbol: str | int | None = None) -> Book:
        """Find the book of a symbol or an instrument id; without one, the only book. `SymbolError` where that is not one."""
        keys = list(self)
        if symbol is not None:
            wanted = {mapping.instrument_id for mapping in self.symbols.find(symbol)}
            keys = [key for key in keys if key[1] in wanted]
        if len(keys) == 1:
            return self[keys[0]]
        if not keys:
            raise SymbolError("no records" + (f" of {symbol}" if symbol is not None else "") + ": there is no book")
        what = "symbol" if len({key[1] for key in keys}) > 1 else "publisher"
        names = ", ".join(map(self._name, keys[:8]))
        raise SymbolError(f"{len(keys)} books fit {symbol or 'no symbol'}: select a {what} of {names}")

    def _name(self, key: Key) -> str:
        return f"{self.symbols.symbol(key[1])} (publisher {key[0]})"


class Books(BooksByKey):
    """The books of every instrument in a stream of MBO records, by (publisher_id, instrument_id).

    A batch costs one pass over its records, whatever instruments they are of. One thread at a time: the kernels run without the
    GIL, so whoever reads while another thread applies sees a book in the making. `strict` and `equal_size`: see
    `mbo.book.interface`. `symbols` gives the books their names.

    >>> from mbo.simulator import simulate
    >>> books = Books()
    >>> books.apply(simulate(1000, seed=1, instruments=2).records)
    >>> len(books), sum(book.status.messages for book in books.values())
    (2, 1000)
    """

    def __init__(
        self, *, strict: bool = False, equal_size: EqualSize = "venue", symbols: SymbolMap | None = None
    ) -> None:
        equal_loses(equal_size, 0)  # refuses what it does not know
        self.strict = strict
        self.equal_size = equal_size
        self.symbols = symbols if symbols is not None else SymbolMap()
        self._known: dict[Key, int] = {}
        self._applying = OneThread()
        pool = np.zeros(1, arrays.POOL)
        pool["free_order"] = pool["free_level"] = arrays.NIL
        pool["strict"], pool["equal_size"], pool["ahead_from"] = strict, _EQUAL[equal_size], _AHEAD_FROM
        _jit.announce("apply")
        self._state = arrays.State(
            orders=_aligned(_ORDERS, arrays.ORDER_SLOT),
            table=_entries(2 * _ORDERS),
            levels=_aligned(_LEVELS, arrays.LEVEL_SLOT),
            rungs=_aligned(_RUNGS, arrays.RUNG),
            free_blocks=_nil(64),
            sides=_aligned(2 * _BOOKS, arrays.SIDE_SLOT),
            books=_aligned(_BOOKS, arrays.BOOK_SLOT),
            keys=_nil(2 * _BOOKS),
            anomalies=np.zeros((_BOOKS, len(_RULES)), arrays.ANOMALY_SLOT),
            pool=pool,
            ahead=np.full(AHEAD, arrays.NIL, np.int64),
        )

    def apply(self, records: RecordArray, *, rows: int | npt.NDArray[np.int64] | None = None) -> None:
        """Apply MBO records in their order.

        `rows` are the numbers they have in their stream, or the first one's, for the anomalies; else they are numbered on from 0.

        In strict mode `RuleError` at the first record that breaks a rule: those before it are applied, it and the rest are not.
        """
        self._drive(rules.apply, as_records(records), rows)

    def _drive(self, kernel: Kernel, records: RecordArray, rows: int | npt.NDArray[np.int64] | None) -> None:
        """Run a kernel over records until they are all applied, making room whenever it asks for some."""
        first, numbers = numbers_of(records, rows)
        with self._applying:
            if first is not None:
                self._state.pool["position"] = first
            status, done = kernel(self._state, records, numbers, 0)
            while status != arrays.DONE and status < rules.BROKEN:
                self._grow(status)
                status, done = kernel(self._state, records, numbers, done)
            position = int(self._state.pool["position"][0])
            self._state.pool["position"] += done
        if status >= rules.BROKEN:
            bad = records[done]
            index = int(numbers[done]) if len(numbers) else position + done
            place = {name: int(bad[name]) for name in ("order_id", "ts_event", "sequence")}
            raise RuleError(_RULES[status - rules.BROKEN], index=index, **place)

    def _grow(self, what: int) -> None:
        state = self._state
        if what == arrays.GROW_ORDERS:
            orders = _enlarged(state.orders)
            self._state = state._replace(orders=orders, table=_entries(2 * len(orders)))
            arrays.rehash(state.table, self._state.table)
        elif what == arrays.GROW_LEVELS:
            self._state = state._replace(levels=_enlarged(state.levels))
        elif what == arrays.GROW_RUNGS:
            self._state = state._replace(rungs=_enlarged(state.rungs))
        elif what == arrays.GROW_BOOKS:
            books = _enlarged(state.books)
            anomalies = np.zeros((len(books), len(_RULES)), arrays.ANOMALY_SLOT)
            anomalies[: len(state.anomalies)] = state.anomalies
            self._state = state._replace(
                books=books, sides=_enlarged(state.sides), anomalies=anomalies, keys=_nil(2 * len(books))
            )
            rules.rekey(self._state)

    # ------------------------------------------------------------ as a mapping

    def _numbers(self) -> dict[Key, int]:
        """Give the place of every book by its key, in order of appearance; a book once there stays."""
        for key in self._state.books["key"][len(self._known) : len(self)].tolist():
            self._known[key >> 32, key & 0xFFFFFFFF] = len(self._known)
        return self._known

    def __len__(self) -> int:
        return int(self._state.pool["books"][0])

    def __iter__(self) -> Iterator[Key]:
        return iter(self._numbers())

    def __getitem__(self, key: Key) -> Book:
        return Book._of(self, self._numbers()[key])

    def __repr__(self) -> str:
        return f"<Books of {len(self)} instruments, {int(self._state.pool['position'][0]):,} records>"


class Book(L3Book):
    """The book of one instrument: alone, or one of a `Books`.

    >>> from mbo.simulator import simulate
    >>> book = Book()
    >>> book.apply(simulate(1000, seed=1).records)
    >>> book.synced, book.crossed, book.bbo.bid.price < book.bbo.ask.price
    (True, False, True)
    """

    def __init__(self, *, strict: bool = False, equal_size: EqualSize = "venue", symbol: str = "") -> None:
        self._books = Books(strict=strict, equal_size=equal_size)
        self._index = 0
        self.symbol = symbol

    @classmethod
    def _of(cls, books: Books, index: int) -> Book:
        book = cls.__new__(cls)
        book._books, book._index = books, index
        status = book.status
        book.symbol = books.symbols.symbol(status.instrument_id, status.ts_recv)
        return book

    @property
    def _state(self) -> arrays.State:
        return self._books._state

    def __copy__(self) -> Book:
        return copy.deepcopy(self)  # a copy that shared the arrays would change with the original

    @property
    def _begun(self) -> bool:
        return self._index < len(self._books)

    def apply(self, records: RecordArray) -> None:
        records = as_records(records)
        if len(records) == 0:
            return
        key = (int(records["publisher_id"][0]), int(records["instrument_id"][0]))
        mine = list(self._books)[self._index] if self._begun else key
        # A record's first eight bytes are length, rtype, publisher_id and instrument_id: both are compared at once.
        strangers = records.view("<u8")[:: MBO_DTYPE.itemsize // 8] >> np.uint64(16) != (mine[1] << 16 | mine[0])
        if strangers.any():
            first = records[int(strangers.argmax())]
            raise RequestError(
                f"this is the book of instrument {mine[1]} (publisher {mine[0]}): "
                f"it does not take records of {first['instrument_id']} (publisher {first['publisher_id']})"
            )
        self._books.apply(records)

    @property
    def status(self) -> Status:
        row = self._state.books[self._index]
        key = int(row["key"])
        return Status(
            publisher_id=key >> 32,
            instrument_id=key & 0xFFFFFFFF,
            ts_event=int(row["ts_event"]),
            ts_recv=int(row["ts_recv"]),
            sequence=int(row["sequence"]),
            channel_id=int(row["channel_id"]),
            valid=bool(row["flags"] & 128),
            synced=bool(row["synced"]),
            suspect=bool(row["suspect"]),
            equal_size_loses=equal_loses(self._books.equal_size, key >> 32),
            messages=int(row["messages"]),
            events=int(row["events"]),
            orders=int(row["orders"]),
        )

    @property
    def anomalies(self) -> dict[str, Anomaly]:
        rows = self._state.anomalies[self._index].tolist()
        return {rule: Anomaly(*row) for rule, row in zip(_RULES, rows, strict=True) if row[0]}

    def depth(self, side: SideLike) -> int:
        return int(self._state.sides[self._side(as_side(side))]["length"])

    def _order(self, order_id: int) -> Order | None:
        state = self._state
        position = (
            queues.locate(state, np.uint64(order_id), self._index)
            if self._begun and 0 <= order_id < 2**64
            else arrays.NIL
        )
        if position < 0:
            return None
        slot = int(state.table[position]["slot"])
        order = state.orders[slot]
        level = state.levels[order["level"]]
        side = Side.ASK if level["side"] & 1 else Side.BID
        ahead = int(queues.size_ahead(state, slot))
        return Order(order_id, side, int(level["price"]), int(order["size"]), ahead, int(order["ts_event"]))

    def check(self) -> None:
        from mbo.book.check import check

        check(self._state)

    def _side(self, side: Side) -> int:
        return 2 * self._index + (side == Side.ASK)

    def _levels(self, side: Side, stop: int) -> npt.NDArray[Any]:
        out = np.empty(stop, LEVEL_DTYPE)
        queues.list_levels(self._state, self._side(side), out)
        return out

    def _orders(self, side: Side, start: int, stop: int) -> npt.NDArray[Any]:
        count = queues.list_orders(self._state, self._side(side), start, stop, np.empty(0, ORDER_DTYPE))
        out = np.empty(count, ORDER_DTYPE)
        queues.list_orders(self._state, self._side(side), start, stop, out)
        return out


def compile_kernels() -> None:
    """Compile the kernels that change books, or load them from an earlier run: whoever measures time does so first."""
    books = Books()
    books.apply(np.empty(0, MBO_DTYPE))
    arrays.rehash(books._state.table, books._state.table.copy())
    rules.rekey(books._state)


def _aligned(length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Allocate zeros that begin at a cache line, so that no 32-byte struct lies across two."""
    memory = np.zeros(length * dtype.itemsize + 64, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + length * dtype.itemsize].view(dtype)


def _entries(length: int) -> npt.NDArray[Any]:
    entries = _aligned(length, arrays.ENTRY_SLOT)
    entries["slot"] = arrays.NIL
    return entries


def _nil(length: int) -> npt.NDArray[np.int32]:
    return np.full(length, arrays.NIL, np.int32)


def _enlarged(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    larger = _aligned(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger
