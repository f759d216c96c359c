"""Records: the MBO records of one or many files, lazily; selected, replayed into books, handed on as Arrow."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mbo import dbn, selection
from mbo.errors import RequestError, SymbolError, TimeError
from mbo.progress import track
from mbo.records import MBO_DTYPE, Action, Flag, RecordArray, TimeField, as_records
from mbo.schemas import MBO_COLUMNS, ArrowStream, PriceAs, dtype_of, times_column, to_arrow, trades_of
from mbo.selection import Clock, Selection, Stretch, book_keys, clock_of
from mbo.streams import Arrays, RecordStream, header
from mbo.summary import Summary
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_TIMESTAMP, Time, format_time, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.book import Book, BooksByKey
    from mbo.book.interface import EqualSize
    from mbo.mbp import Emit
    from mbo.opening import Opening

PathLike = str | os.PathLike[str]


def read_dbn(paths: PathLike | Iterable[PathLike]) -> Records:
    """Open DBN files of MBO records (`.dbn`, `.dbn.zst`, versions 1 to 3): one path, several, or a pattern like `"day/*.zst"`.

    Reads their headers only. Several files are replayed in the order of their start, as one stream; they have to be of one
    dataset. Raises `DataError` where a file is not DBN or of another schema, `OSError` where it cannot be read.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found = [match for path in paths for match in matches(os.fspath(path))]
    if not found:
        raise RequestError("no files to read")
    files = sorted(map(dbn.open_file, found), key=lambda file: file.metadata.start)
    datasets = {file.metadata.dataset for file in files}
    if len(datasets) > 1:
        names = ", ".join(sorted(datasets))
        raise RequestError(f"these files are of different datasets ({names}): read them one by one")
    return Records(tuple(files), Selection())


def matches(name: str) -> list[str]:
    """Give the files that a pattern fits, or the name itself where it is none; `OSError` where none fits."""
    if Path(name).exists() or not glob.has_magic(name):
        return [name]
    matches = sorted(glob.glob(name))  # noqa: PTH207 - pathlib's takes no absolute pattern
    if not matches:
        raise FileNotFoundError(f"no file matches {name}")
    return matches


class Records:
    """MBO records in the order of their files, narrowed by `select`; nothing is read before it is asked for.

    An Arrow stream by itself (`pl.DataFrame(day)`, `pa.table(day)`): Databento's columns, prices int64 in units of 1e-9.
    """

    def __init__(self, files: tuple[dbn.DbnFile, ...], chosen: Selection, symbol_map: SymbolMap | None = None) -> None:
        self.files = files
        self.selection = chosen
        self._symbol_map = symbol_map

    # ------------------------------------------------------------ what there is

    @property
    def dataset(self) -> str:
        """Databento's code, such as GLBX.MDP3."""
        return str(self.files[0].metadata.dataset)

    @property
    def symbol_map(self) -> SymbolMap:
        """Which symbol each instrument id stands for, and when; a live recording without a table is read through for it."""
        if self._symbol_map is None:
            self._symbol_map = SymbolMap(mapping for file in self.files for mapping in file.symbol_map())
        return self._symbol_map

    @property
    def symbols(self) -> list[str]:
        """The symbols of the selection."""
        return self._selected_symbols().symbols

    @property
    def covers(self) -> tuple[int, int]:
        """The first and the last nanosecond that the files were made for, by their headers (which may not know the last)."""
        starts = [file.metadata.start for file in self.files]
        ends = [file.metadata.end for file in self.files if file.metadata.end not in (None, UNDEF_TIMESTAMP)]
        return min(starts), max(ends) - 1 if ends else min(starts)

    def summary(self) -> Summary:
        """Read everything once and count it."""
        skipped = dbn.Skipped()
        return Summary.of((stretch.records for stretch in self._stretches("counting", skipped)), skipped.counts)

    def select(
        self,
        symbol: str | int | Iterable[str | int] | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        publisher_id: int | None = None,
        by: Clock = "recv",
    ) -> Records:
        """Narrow to symbols or instrument ids, to `start` <= time < `end`, and to a publisher.

        What is given takes the place of what was chosen before of its kind (instruments, times, publisher); the rest stays. The
        time is ts_recv, or ts_event with `by="event"` and where ts_recv is missing. A book built from a selection sees the selected
        records only: for the book at an instant, with all that came before, use `book(at=...)`.
        """
        new: dict[str, object] = {}
        if symbol is not None:
            names = [symbol] if isinstance(symbol, str | Integral) else list(symbol)  # type: ignore[arg-type]
            new["instruments"] = tuple(mapping for name in names for mapping in self.symbol_map.find(name))
            if not names:
                raise SymbolError("no symbol is selected: the list is empty")
        if publisher_id is not None:
            new["publisher_id"] = publisher_id
        if start is not None or end is not None:
            new["clock"] = clock_of(by)
            new["start"] = None if start is None else parse_time(start)
            new["end"] = None if end is None else parse_time(end)
            if start is not None and end is not None and new["start"] >= new["end"]:  # type: ignore[operator]
                raise TimeError(f"nothing lies between {start} and {end}: the end has to be later")
        return Records(self.files, replace(self.selection, **new), self._symbol_map)  # type: ignore[arg-type]

    # ------------------------------------------------------------ records out

    def batches(self) -> Iterator[RecordArray]:
        """Give the records in order, in read-only arrays of at most 65,536 (`mbo.MBO_DTYPE`), in memory flat in the file's size."""
        for stretch in self._stretches("reading"):
            yield stretch.records

    def load(self) -> RecordArray:
        """Give all records as one read-only array; of one whole plain file it is a view of the file's own pages."""
        if self.selection == Selection() and len(self.files) == 1:
            whole = self.files[0].whole()
            if whole is not None:
                return whole
        batches = list(self.batches())
        return as_records(np.concatenate(batches) if batches else np.empty(0, MBO_DTYPE))

    def arrow(self, *, px: PriceAs = "fixed") -> ArrowStream:
        """Give the records as a lazy Arrow stream; `px` says how prices leave: "fixed" (int64, 1e-9), "decimal" or "float"."""
        return ArrowStream(lambda: self._arrow_batches(px), f"<mbo stream of {self!r}>")

    def mbo(self, *, px: PriceAs = "fixed") -> RecordStream:
        """Give the records themselves as Databento's `mbo`, without sending times."""
        return self._stream("mbo", self.batches, px)

    def trades(self, *, px: PriceAs = "fixed") -> RecordStream:
        """Give the trades (action T; side is the aggressor's) as Databento's `trades`; no book is needed for them."""
        return self._stream(
            "trades", lambda: (trades_of(stretch.records) for stretch in self._stretches("reading")), px
        )

    def mbp(
        self, levels: int = 10, *, emit: Emit = "touch", px: PriceAs = "fixed", opening: Opening | None = None
    ) -> RecordStream:
        """Give the book by price as Databento's `mbp-10` or `mbp-1`: the best levels at every trade and after every event.

        A trade comes with the book before its effect, an event's changes as one record if they touched a visible level (with
        `emit="change"` if they changed what is visible). See `mbo.mbp`, and `infer_opening` for `opening`.
        """
        return self._stream(f"mbp-{levels}", lambda: self._mbp_arrays(levels, emit, opening), px)

    def tbbo(self, *, px: PriceAs = "fixed") -> RecordStream:
        """Give every trade with the best bid and ask just before its effect, as Databento's `tbbo`."""
        arrays = lambda: (array[array["action"] == Action.TRADE] for array in self._mbp_arrays(1, "touch"))  # noqa: E731
        return self._stream("tbbo", arrays, px)

    def bbo(self, interval: Literal["1s", "1m"] = "1s", *, px: PriceAs = "fixed") -> RecordStream:
        """Give the best bid and ask and the last trade at the end of each second or minute, as Databento's `bbo-1s` or `bbo-1m`."""
        from mbo.bbo import sample

        return self._stream(f"bbo-{interval}", lambda: sample(self._mbp_arrays(1, "touch"), interval), px)

    def _stream(self, schema: str, arrays: Arrays, px: PriceAs) -> RecordStream:
        dtype_of(schema)  # refuses one that does not exist
        ends = [file.metadata.end for file in self.files]
        end = None if None in ends or UNDEF_TIMESTAMP in ends else max(ends)
        metadata = header(self.files[0].metadata, schema, end=end, symbol_map=self._selected_symbols())
        return RecordStream(schema, arrays, metadata=metadata, symbol_map=self.symbol_map, px=px)

    def _selected_symbols(self) -> SymbolMap:
        wanted = self.selection.instruments
        return self.symbol_map if wanted is None else SymbolMap(wanted)

    def _mbp_arrays(self, levels: int, emit: Emit, opening: Opening | None = None) -> Iterator[npt.NDArray[Any]]:
        from mbo.mbp import Mbp

        mbp = Mbp(levels, emit=emit)
        if opening is not None:
            begun = self._begun(opening)
            yield from mbp.apply(begun.records, rows=begun.rows)
        for stretch in self._stretches("replaying"):
            yield from mbp.apply(stretch.records, rows=stretch.rows)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def _arrow_batches(self, px: PriceAs) -> Iterator[pa.RecordBatch]:
        yield self._arrow_batch(selection.empty(ts_out=self.files[0].metadata.ts_out), px)  # for its schema
        for stretch in self._stretches("reading"):
            yield self._arrow_batch(stretch, px)

    def _arrow_batch(self, stretch: Stretch, px: PriceAs) -> pa.RecordBatch:
        extra = {} if stretch.ts_out is None else {"ts_out": times_column(stretch.ts_out)}
        extra["symbol"] = self.symbol_map.column(stretch.records)
        return to_arrow(stretch.records, MBO_COLUMNS, px=px, extra=extra)

    def _stretches(self, label: str, skipped: dbn.Skipped | None = None) -> Iterator[Stretch]:
        """Read the files and give what the selection leaves of each batch."""
        total = sum(file.size_bytes for file in self.files)
        for stretch in track(self._everything(skipped), total, lambda stretch: stretch.read_bytes, label):
            left = self.selection.of(stretch)
            if len(left.records):
                yield left

    def _everything(self, skipped: dbn.Skipped | None) -> Iterator[Stretch]:
        rows = read = 0
        for file in self.files:
            count = 0
            for batch in file.batches(skipped):
                yield Stretch(batch.records, rows + batch.first, batch.ts_out, read + batch.read_bytes)
                count = batch.first + len(batch.records)
            rows += count
            read += file.size_bytes

    # ------------------------------------------------------------ books

    def book(
        self,
        symbol: str | int | None = None,
        *,
        at: Time | None = None,
        by: Clock = "recv",
        strict: bool = False,
        equal_size: EqualSize = "venue",
        opening: Opening | None = None,
    ) -> Book:
        """Replay into the book of one instrument: the only one of the selection, or `symbol`.

        With `at` it is the state after the last event whose F_LAST record has ts_recv (ts_event with `by="event"`) at or before
        `at`. It never looks ahead: from the first later one on, in the stream's order, nothing counts, though the records of a
        snapshot bear older times. A record without a time counts with the next that has one. With `opening` the book begins with
        what was inferred: see `infer_opening`.

        `TimeError` where `at` is outside the data or before the instrument's first event, `SymbolError` where the instrument is not
        one, `RuleError` in strict mode at the first record that breaks a rule.
        """
        chosen = self if symbol is None else self.select(symbol)
        books = chosen.books(at=at, by=by, strict=strict, equal_size=equal_size, opening=opening)
        what = symbol if symbol is not None else ", ".join(chosen.symbols) or "the selection"
        if not books and at is not None:
            raise TimeError(f"no event of {what} is complete at {format_time(parse_time(at))}")
        if not books:
            raise SymbolError(f"there are no records of {what} in the data")
        return books.book()

    def books(
        self,
        *,
        at: Time | None = None,
        by: Clock = "recv",
        strict: bool = False,
        equal_size: EqualSize = "venue",
        opening: Opening | None = None,
        threads: int = 1,
    ) -> BooksByKey:
        """Replay into the books of all instruments of the selection; see `book` for `at`.

        An instrument without a complete event at that instant has no book. Where an id means another symbol on another day, one
        book holds both: select a symbol to keep them apart. With some hundred instruments several threads are sooner done; they
        have no strict mode (see `ParallelBooks`).
        """
        from mbo.book import Books, ParallelBooks

        if threads < 1:
            raise RequestError(f"threads={threads}: one at least")
        if strict and threads != 1:
            raise RequestError(
                f"strict=True with {threads} threads: the record that breaks a rule is found by one only"
            )
        last_rows = None if at is None else self._last_rows(parse_time(at), clock_of(by))
        books: BooksByKey = (
            Books(strict=strict, equal_size=equal_size, symbols=self.symbol_map)
            if threads == 1
            else ParallelBooks(threads, equal_size=equal_size, symbols=self.symbol_map)
        )
        if opening is not None:
            begun = self._begun(opening)
            books.apply(begun.records, rows=begun.rows)
        stretches = self._stretches("replaying")
        for stretch in stretches if threads == 1 else selection.joined(stretches, ParallelBooks.AT_ONCE):
            if last_rows is not None:
                if stretch.numbers[0] > max(last_rows.values(), default=-1):
                    break  # all that follows is later than `at`
                stretch = stretch.until(last_rows)
            books.apply(stretch.records, rows=stretch.rows)
        return books

    def infer_opening(self) -> Opening:
        """Infer from later records what rested when the stream began, for a file that was cut in the middle of a session.

        Reads everything once. Nothing uses it unasked: hand it to `book`, `books` or `mbp` as `opening`. Their books
        are then suspect until the venue clears or restores them. `mbo.opening` says what can be known, and what cannot.

        >>> import mbo
        >>> day = mbo.read_dbn(mbo.SIMULATED)
        >>> day.infer_opening()  # it begins with its snapshots
        <Opening of 0 books, 0 orders inferred, 0 unknown ones left out>
        """
        from mbo.opening import infer

        batches = (stretch.records for stretch in self._stretches("inferring the opening"))
        return infer(batches, symbols=self.symbol_map)

    def _begun(self, opening: Opening) -> Stretch:
        """Give what is selected of an opening, numbered below 0, so that the stream's own numbers stay."""
        return self.selection.of(Stretch(opening.records, -len(opening.records)))

    def _last_rows(self, at: int, clock: TimeField) -> dict[int, int]:
        """Find, by book key, the number of the last F_LAST record before the first one that is later than `at`."""
        last_rows: dict[int, int] = {}
        closed: set[int] = (
            set()
        )  # books that have seen a later one: what follows is later still, whatever its clock says
        first, last = self.covers
        for stretch in self._stretches("finding the instant"):
            times = stretch.records[clock]
            known = times[times != UNDEF_TIMESTAMP]
            if len(known):
                first, last = min(first, int(known.min())), max(last, int(known.max()))
            ends = np.flatnonzero((stretch.records["flags"] & int(Flag.LAST) != 0) & (times != UNDEF_TIMESTAMP))
            keys, numbers, late = book_keys(stretch.records[ends]), stretch.numbers[ends], times[ends] > at
            if closed:
                still_open = ~np.isin(keys, list(closed))
                keys, numbers, late = keys[still_open], numbers[still_open], late[still_open]
            if late.any():
                late_keys, places = np.unique(keys[late], return_index=True)
                closed.update(late_keys.tolist())
                own = np.searchsorted(late_keys, keys).clip(max=len(late_keys) - 1)
                before = np.arange(len(keys)) < np.flatnonzero(late)[places][own]
                keep = before | (late_keys[own] != keys)
                keys, numbers = keys[keep], numbers[keep]
            last_rows.update(zip(keys.tolist(), numbers.tolist(), strict=True))
        if not first <= at <= last:
            span = f"from {format_time(first)} to {format_time(last)}"
            raise TimeError(f"{format_time(at)} is outside the data, which goes {span}")
        return last_rows

    # ------------------------------------------------------------ for people

    def ladder(self, symbol: str | None = None, **params: Any) -> Any:
        """Show the books in a notebook's cell, to play, pause and go anywhere in: ladder, heatmap, tape, depth and queue.

        `symbol` is the one to begin with, `params` are those of `mbo.view.Ladder`. Needs the extra `dashboard`.
        """
        from mbo.view import ladder

        return ladder(self, symbol, **params)

    def __repr__(self) -> str:
        name = self.files[0].path.name if len(self.files) == 1 else f"{len(self.files)} files"
        chosen = "" if self.selection == Selection() else ", selected"
        return f"<Records of {name}, {self.dataset}{chosen}>"

    def _repr_html_(self) -> str:
        from html import escape

        first, last = self.covers
        rows = [("file", str(file.path)) for file in self.files[:10]]
        rows += [("dataset", self.dataset), ("from", format_time(first)), ("to", format_time(last))]
        if self._symbol_map is not None or all(file.metadata.schema is not None for file in self.files):
            rows.append(("symbols", ", ".join(self.symbols[:20])))  # those of a live recording are not in its header
        cells = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows)
        return f"<table>{cells}</table>"
