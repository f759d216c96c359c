"""A simulated exchange: seeded price-time matching written as MBO records, and the true book from its own matching.

It makes what CME's data looks like (GLBX.MDP3, publisher 1): an opening snapshot for every instrument, then single
adds, cancels and modifies, trade events of several records, now and then a mass quote, a clear or a snapshot in
between. `features` adds what is rarer: see `Feature`. One seed is one sequence of bytes, on any machine. Names and
prices are invented.

The truth does not come from reading the records: the exchange lists the orders that rest in its own queues, and writes
the market by price (MBP-10, MBP-1) from the same. So it can judge what was built from the records, and shares no code
with that.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import operator
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from mbo import _simulator_kernels as kernels
from mbo import _simulator_state_kernels as arrays
from mbo._simulator_state_kernels import Feature as Feature
from mbo.book.interface import digest_of
from mbo.book.rows import ORDER_DTYPE
from mbo.errors import RequestError, SymbolError
from mbo.files import replacing
from mbo.progress import track
from mbo.records import MBO_DTYPE, RecordArray, as_records
from mbo.schemas import LEVEL_PAIR_DTYPE, TRADES_DTYPE, mbp_dtype
from mbo.units import NS_PER_S, Time, parse_time

if TYPE_CHECKING:
    from databento_dbn import Metadata

DATASET: Final = "GLBX.MDP3"
BATCH_RECORDS: Final = 1 << 16
TRUTH_BATCH: Final = 1 << 13  # the market by price takes seven times as much memory
MAX_MESSAGES: Final = 1_000_000_000
MAX_ORDERS: Final = 10_000_000
_FIRST_ID: Final = 1_001
_NS_PER_DAY: Final = 86_400 * NS_PER_S
_HISTORY_NS: Final = 6 * 3_600 * NS_PER_S  # the orders of the opening snapshots are up to six hours old

# (price of a tick, middle of the grid), 1e-9. Every tenth instrument, from the third on, is like a spread around zero.
_OUTRIGHTS: Final = [(10_000_000, 64_830_000_000), (250_000_000, 5_200_000_000_000), (5_000_000, 17_500_000_000)]
_SPREAD: Final = (10_000_000, -300_000_000)
_OTHER_PUBLISHERS: Final = (2, 57)  # with Feature.PUBLISHERS, every second instrument is in turn one of theirs
_RTYPES: Final = {1: 0x01, 10: 0x0A}  # of the market by price, by its levels

# Up to so many resting orders: ticks of a grid, and how near and how far new orders are (bits of a distance in ticks).
_GRIDS: Final = [(5_000, 1_024, 0, 8), (100_000, 4_096, 3, 10), (MAX_ORDERS, 16_384, 5, 12)]


class Simulator:
    """An exchange with `instruments` books of about `resting` orders each, sending `rate` messages a second on average.

    Every book is full from the start; `batches()` begins with their snapshots. Memory grows with the orders, not with
    the messages. `features` are what else happens, `start` is when the session begins. Raises `RequestError` where an
    argument makes no sense.

    >>> exchange = Simulator(seed=7, resting=20)
    >>> sum(len(batch) for batch in exchange.batches(1_000)), len(exchange.orders(1001)) > 0
    (1000, True)
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        instruments: int = 1,
        resting: int = 300,
        features: Feature = Feature.NONE,
        start: Time = "2025-01-06T14:30",
        rate: int = 2_000,
    ) -> None:
        self.seed = _whole("seed", seed, 0, 2**64 - 1)
        count = _whole("instruments", instruments, 1, 100_000)
        resting = _whole("resting", resting, 2, MAX_ORDERS)
        if count * resting > MAX_ORDERS:
            raise RequestError(
                f"{count:,} instruments of {resting:,} orders are more than {MAX_ORDERS:,} orders in all"
            )
        self.start = parse_time(start)
        if not _NS_PER_DAY <= self.start < 2**62:
            raise RequestError(f"start={start!r} is not between 1970-01-02 and 2116")
        self._gap = NS_PER_S // _whole("rate", rate, 1, 1_000_000)
        self._written = 0
        self.features = Feature(_whole("features", features, 0, int(Feature.ALL)))
        self._again: dict[str, Any] = {
            "seed": seed, "instruments": count, "resting": resting, "features": self.features, "start": start, "rate": rate
        }  # fmt: skip
        self._state = _new_state(self.seed, count, resting, self.features)
        self._open()

    def __repr__(self) -> str:
        return f"<Simulator seed={self.seed} instruments={len(self.symbols)} written={self._written}>"

    @property
    def instrument_ids(self) -> list[int]:
        """The ids, in the order of `symbols`."""
        return [int(number) for number in self._state.instruments["instrument_id"]]

    @property
    def symbols(self) -> list[str]:
        """Invented names: SIM1, SIM2 and so on."""
        return [f"SIM{k + 1}" for k in range(len(self._state.instruments))]

    def metadata(self, messages: int, schema: str = "mbo") -> Metadata:
        """Make the DBN header (version 3) of a session of so many messages from the start, or of its market by price.

        Its `end` is a whole second, after the last record. It is known before there are records, because the clock is
        never more than a few dozen messages ahead of `rate`: a compressed file's header cannot be corrected afterwards.
        """
        from databento_dbn import Metadata, Schema, SType

        messages = _whole("messages", messages, 1, MAX_MESSAGES)
        latest = self.start + (messages + arrays.MAX_AHEAD) * self._gap + arrays.MAX_LATENCY
        end = (latest // NS_PER_S + 1) * NS_PER_S
        dates = {"start_date": _date(self.start), "end_date": _date(end - 1 + _NS_PER_DAY)}  # end_date is exclusive
        return Metadata(
            dataset=DATASET, start=self.start, end=end, schema=Schema.from_str(schema), version=3,
            stype_in=SType.from_str("raw_symbol"), stype_out=SType.from_str("instrument_id"), symbols=self.symbols,
            mappings=[
                SimpleNamespace(raw_symbol=symbol, intervals=[SimpleNamespace(**dates, symbol=str(number))])
                for symbol, number in zip(self.symbols, self.instrument_ids, strict=True)
            ],
        )  # fmt: skip

    def batches(self, messages: int, *, batch_records: int = BATCH_RECORDS) -> Iterator[RecordArray]:
        """Write exactly so many more records, `batch_records` at a time at most; the last one ends an event.

        The bytes do not depend on `batch_records`. A call goes on where the one before ended, which must be used up
        first. Raises `RequestError` where `messages` are fewer than the opening snapshots need.
        """
        return (records for records, _ in self._run(*self._checked(messages, batch_records), 0))

    def truth_batches(
        self, messages: int, levels: int = 10, *, batch_records: int = TRUTH_BATCH
    ) -> Iterator[tuple[RecordArray, npt.NDArray[Any]]]:
        """Write the records that `batches` would write, each batch with the market by price of its events.

        That is Databento's MBP-10 or MBP-1 (`mbo.schemas.mbp_dtype(levels)`), all instruments in one order.
        """
        if isinstance(levels, bool) or levels not in _RTYPES:
            raise RequestError(f"levels={levels!r}: there is market by price of 1 or 10 levels")
        return self._run(*self._checked(messages, batch_records), levels)

    def _checked(self, messages: int, batch_records: int) -> tuple[int, int]:
        batch_records = _whole("batch_records", batch_records, arrays.MAX_EVENT, 1 << 24)
        messages = _whole("messages", messages, 1, MAX_MESSAGES - self._written)
        owed = self._owed()
        if messages < owed:
            raise RequestError(f"{messages:,} messages are too few: the snapshots alone are {owed:,} records")
        return messages, batch_records

    def _run(self, messages: int, batch_records: int, levels: int) -> Iterator[tuple[RecordArray, npt.NDArray[Any]]]:
        stream = self._state.stream[0]
        while messages:
            out = np.empty(min(batch_records, max(messages, arrays.MAX_EVENT)), MBO_DTYPE)
            state, truth = _with_room(self._state, len(out) if levels else _FEW, levels or 1)
            stream["levels"] = levels
            written = kernels.run(state, out, messages)
            self._written += written
            messages -= written
            yield as_records(out[:written]), truth[: stream["rows"]]

    def orders(self, instrument_id: int) -> npt.NDArray[Any]:
        """List the orders (`ORDER_DTYPE`) that rest now in priority order: bids best to worst, asks best to worst.

        Within a level the first in the queue comes first. Raises `SymbolError` where there is no such instrument.
        """
        row = self._row(instrument_id)
        orders = np.zeros(int(self._state.instruments["count"][row]), ORDER_DTYPE)
        listed = kernels.list_orders(self._state, row, orders)
        assert listed == len(orders)
        return orders

    def digest(self, instrument_id: int) -> str:
        """Hash the orders that rest now, as a book's `digest()` does."""
        return digest_of(self.orders(instrument_id))

    def again(self) -> Simulator:
        """Make the same exchange as it was before its first record."""
        return Simulator(**self._again)

    def _row(self, instrument_id: int) -> int:
        row = operator.index(instrument_id) - _FIRST_ID
        if not 0 <= row < len(self._state.instruments):
            last = _FIRST_ID + len(self._state.instruments) - 1
            raise SymbolError(f"no instrument {instrument_id} here: the ids are {_FIRST_ID} to {last}")
        return row

    def _owed(self) -> int:
        stream, instruments = self._state.stream[0], self._state.instruments
        unopened = instruments["count"][int(stream["unopened"]) :]
        return int(stream["snapshot_left"] + unopened.sum() + len(unopened))

    def _open(self) -> None:
        stream, orders = self._state.stream[0], len(self._state.instruments) * int(self._state.stream[0]["resting"])
        stream["start"] = self.start
        stream["gap"] = self._gap
        kernels.populate(self._state, self.start - _HISTORY_NS, (_HISTORY_NS - NS_PER_S) // orders)


@dataclass(frozen=True, eq=False)
class Session:
    """A simulated session in memory; the books are as they stand at its end."""

    records: RecordArray
    metadata: Metadata
    simulator: Simulator

    @property
    def symbols(self) -> list[str]:
        """Invented names: SIM1, SIM2 and so on."""
        return self.simulator.symbols

    @property
    def instrument_ids(self) -> list[int]:
        """The ids, in the order of `symbols`."""
        return self.simulator.instrument_ids

    def orders(self, instrument_id: int) -> npt.NDArray[Any]:
        """List the orders that rest at the end; see `Simulator.orders`."""
        return self.simulator.orders(instrument_id)

    def digest(self, instrument_id: int) -> str:
        """Hash the orders that rest at the end, as a book's `digest()` does."""
        return self.simulator.digest(instrument_id)

    def truth(self, levels: int = 10) -> npt.NDArray[Any]:
        """Simulate the session once more for its market by price; see `Simulator.truth_batches`."""
        again = self.simulator.again()
        return np.concatenate([truth for _, truth in again.truth_batches(len(self.records), levels)])


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_session` wrote, and the true final book of every symbol as a digest; times in ns UTC.

    `truth_records` counts the market by price that was written beside it, None where none was asked for.
    """

    path: Path
    records: int
    size_bytes: int
    start: int
    end: int
    digests: Mapping[str, str]
    truth_records: int | None = None


def simulate(
    messages: int = 100_000,
    *,
    seed: int = 1,
    instruments: int = 1,
    resting: int = 300,
    features: Feature = Feature.NONE,
) -> Session:
    """Simulate a session of exactly so many messages in memory; see `Simulator`.

    >>> session = simulate(1_000, resting=20)
    >>> len(session.records), session.symbols
    (1000, ['SIM1'])
    """
    simulator = Simulator(seed, instruments=instruments, resting=resting, features=features)
    records = np.concatenate(list(simulator.batches(messages)))
    return Session(as_records(records), simulator.metadata(messages), simulator)


def write_session(
    path: str | os.PathLike[str],
    messages: int,
    *,
    seed: int = 1,
    instruments: int = 1,
    resting: int = 300,
    features: Feature = Feature.NONE,
    truth: str | os.PathLike[str] | None = None,
) -> Written:
    """Simulate a session into a file, `.dbn` or `.dbn.zst` by its name, in memory that does not grow with it.

    `truth` names a second file, for the MBP-10 that the exchange knows of itself; the other arguments are those of
    `Simulator`. The files appear under their names when they are complete. Raises `RequestError` at another ending,
    `OSError` where one cannot be written.
    """
    path, beside = _dbn_path(path), None if truth is None else _dbn_path(truth)
    if beside is not None and beside.resolve() == path.resolve():
        raise RequestError(f"{path} cannot hold both the session and its truth")
    simulator = Simulator(seed, instruments=instruments, resting=resting, features=features)
    metadata, count = simulator.metadata(messages), None
    if beside is None:
        with _writing(path, metadata) as file:
            for records in track(simulator.batches(messages), messages, lambda _: simulator._written, "simulating"):
                file.write(records.data)
    else:
        count, pairs = 0, simulator.truth_batches(messages)
        with _writing(path, metadata) as file, _writing(beside, simulator.metadata(messages, "mbp-10")) as second:
            for records, mbp in track(pairs, messages, lambda _: simulator._written, "simulating"):
                file.write(records.data)
                second.write(mbp.data)
                count += len(mbp)
    digests = {
        symbol: simulator.digest(number)
        for symbol, number in zip(simulator.symbols, simulator.instrument_ids, strict=True)
    }
    return Written(path, operator.index(messages), path.stat().st_size, metadata.start, metadata.end, digests, count)


def _dbn_path(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.name.endswith((".dbn", ".dbn.zst")):
        raise RequestError(f"{path} is neither .dbn nor .dbn.zst: the name's ending says which to write")
    return path


@contextmanager
def _writing(path: Path, metadata: Metadata) -> Iterator[BinaryIO]:
    with replacing(path) as file, _compressed(file, path) as target:
        target.write(metadata.encode())
        yield target


@contextmanager
def _compressed(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix != ".zst":
        yield file
        return
    import zstandard

    with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as target:
        yield target


_FEW: Final = 2  # rows of a market by price that is not asked for; one alone would be contiguous: another type to numba


def _with_room(state: arrays.State, rows: int, levels: int) -> tuple[arrays.State, npt.NDArray[Any]]:
    """Give the state room for so much market by price: two views of the array that comes with it."""
    truth = np.empty(rows, mbp_dtype(levels))
    raw = truth.view(np.uint8).reshape(rows, -1)
    heads = raw[:, : TRADES_DTYPE.itemsize].view(TRADES_DTYPE)[:, 0]
    heads["length"], heads["rtype"] = truth.dtype.itemsize // 4, _RTYPES[levels]
    return state._replace(heads=heads, pairs=raw[:, TRADES_DTYPE.itemsize :].view(LEVEL_PAIR_DTYPE)), truth


def _new_state(seed: int, instruments: int, resting: int, features: Feature) -> arrays.State:
    _, ticks, near_bits, far_bits = next(grid for grid in _GRIDS if resting <= grid[0])
    slots = resting + resting // 2 + 64
    grid = 2 * ticks if features else ticks
    state = arrays.State(
        rng=np.frombuffer(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "<u8").astype(np.uint64)
        | np.uint64(1),
        stream=np.zeros(1, arrays.STREAM_DTYPE),
        instruments=np.zeros(instruments, arrays.INSTRUMENT_DTYPE),
        slots=np.zeros(instruments * slots, arrays.SLOT_DTYPE),
        queues=np.zeros(instruments * grid, arrays.QUEUE_DTYPE),
        fills=np.zeros(arrays.MAX_FILLS, np.int64),
        heads=None,
        pairs=None,
    )
    settings = {
        "next_id": 6_400_000_000_000, "snapshot_slot": arrays.NONE, "features": features,
        "resting": resting, "slots": slots, "ticks": ticks, "grid": grid, "asks": grid - ticks,
        "near_bits": near_bits, "far_bits": far_bits,
    }  # fmt: skip
    for name, value in settings.items():
        state.stream[name] = value
    for k, row in enumerate(state.instruments):
        tick, middle = _SPREAD if k % 10 == 2 else _OUTRIGHTS[k % len(_OUTRIGHTS)]
        if middle > 0:  # an outright's prices are positive on the whole grid
            middle = max(middle + 7 * k * tick, ticks * tick)
        elsewhere = Feature.PUBLISHERS in features and k % 2 == 1
        row["instrument_id"] = _FIRST_ID + k
        row["publisher"] = _OTHER_PUBLISHERS[k // 2 % 2] if elsewhere else arrays.GLBX
        row["last"] = arrays.LAST | arrays.SPECIFIC if elsewhere else arrays.LAST
        row["origin"] = middle - ticks // 2 * tick
        row["tick"] = tick
        row["fair"] = ticks // 2
    return _with_room(state, _FEW, 1)[0]


def _date(ns: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=ns // _NS_PER_DAY)


def _whole(name: str, value: object, low: int, high: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(f"{name}={value!r} is not a whole number") from None
    if isinstance(value, bool | np.bool_) or not low <= number <= high:
        raise RequestError(f"{name}={value!r} is not a whole number from {low:,} to {high:,}")
    return number
