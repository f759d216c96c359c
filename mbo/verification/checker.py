"""The check as a stream: batches of records in, tallies out, in memory that does not grow with the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo import _jit
from mbo.book import Books
from mbo.book.interface import EqualSize
from mbo.errors import RequestError
from mbo.records import MBO_DTYPE, Flag, RecordArray, as_records
from mbo.selection import book_keys
from mbo.symbols import SymbolMap
from mbo.verification import _event_kernels as events
from mbo.verification import _mark_kernels as kernels
from mbo.verification.report import Fills, Finding, Outcome, Power, Report
from mbo.verification.rules import CLASSES, RULES, WITNESSES, WRONG_RULES

if TYPE_CHECKING:
    from mbo.comparison import Comparison
    from mbo.replay import Records

KEPT: Final = 5  # exceptions of each class of each rule whose records are kept
_SHOWN: Final = 256  # records of an event that are kept with an exception
_OF_MATCHES: Final = [k for k, rule in enumerate(RULES) if rule.name.startswith(("fill_", "trade_"))]
_HELD: Final = 1 << 17  # records of unfinished events that are held back for their end
_GONE: Final = 1 << 20  # ids that are remembered to have left a book that is not synced
_WALK_EVERY: Final = (
    1 << 16
)  # records, or as many as orders rest if they are more: so walking them all costs no more than reading
_WHYS: Final = (*CLASSES, "")
_Rows = npt.NDArray[np.int64]


class Checker:
    """Checks MBO records of any number of books against `RULES`, and applies them to `books`.

    An event is judged when it is whole: what it still brings explains what it began with. One of more than 131,072 records is
    judged in pieces. `keep` exceptions of each class are kept with their records.
    """

    def __init__(self, *, equal_size: EqualSize = "venue", symbols: SymbolMap | None = None, keep: int = KEPT) -> None:
        _jit.announce("check")
        self.books = Books(equal_size=equal_size, symbols=symbols)
        self.records = 0
        self.unfinished = 0
        """Records after the last F_LAST of their book, known at the end."""
        self._open = np.empty(0, MBO_DTYPE), np.empty(0, np.int64)
        self._last = np.zeros(1, MBO_DTYPE), 0
        self._unwalked = 0
        self._findings: list[Finding] = []
        rules, whys = len(RULES), len(_WHYS)
        self._proof = kernels.Proof(
            marks=np.zeros(0, kernels.MARK),
            books=np.zeros(0, kernels.BOOK_MARK),
            cursor=np.zeros(1, kernels.CURSOR),
            gone=np.zeros(_GONE, np.uint64),
            checked=np.zeros(rules, np.int64),
            held=np.zeros(rules, np.int64),
            excused=np.zeros((rules, whys), np.int64),
            kept=np.zeros((rules, whys, keep), kernels.KEPT),
            fills=np.zeros(whys + len(WITNESSES), np.int64),
            power=np.zeros((len(WRONG_RULES), 5), np.int64),
            verdicts=np.zeros(len(WRONG_RULES), np.int64),
        )

    def apply(self, records: RecordArray, rows: int | _Rows) -> None:
        """Check records that follow on those before; `rows` are their numbers in the stream, or the first one's."""
        numbers = np.arange(rows, rows + len(records)) if isinstance(rows, int) else rows
        self.records += len(records)
        if len(self._open[0]):
            records = np.concatenate([self._open[0], records])
            numbers = np.concatenate([self._open[1], numbers])
        keys = book_keys(records)
        ends = records["flags"] & int(Flag.LAST) != 0
        if (~ends[:-1] & (keys[1:] != keys[:-1])).any():  # records of other books stand within an event
            order = np.argsort(keys, kind="stable")
            records, numbers, keys, ends = records[order], numbers[order], keys[order], ends[order]
        whole = _whole(keys, ends)
        if len(records) - np.count_nonzero(whole) > _HELD:
            whole[:] = True
        self._open = records[~whole].copy(), numbers[~whole].copy()
        self._check(records if whole.all() else records[whole], numbers if whole.all() else numbers[whole])

    def finish(self) -> None:
        """Judge what waited for more records, but for its matches: what is missing may settle an order passed over, or a size."""
        self.unfinished = len(self._open[0])
        proof, found = self._proof, len(self._findings)
        tallies = [tally[_OF_MATCHES] for tally in (proof.checked, proof.held, proof.excused)]
        witnesses = proof.fills.copy(), proof.power.copy(), proof.verdicts.copy()
        self._check(*self._open)
        for tally, before in zip((proof.checked, proof.held, proof.excused), tallies, strict=True):
            tally[_OF_MATCHES] = before
        proof.fills[:], proof.power[:], proof.verdicts[:] = witnesses
        matches = {RULES[k].name for k in _OF_MATCHES}
        self._findings[found:] = [one for one in self._findings[found:] if one.rule not in matches]
        self._open = self._open[0][:0], self._open[1][:0]
        if self.records:
            self._make_room()
            events.finish(self.books._state, self._proof, self._last[0][0], self._last[1])
            self._collect(self._last[0])

    def report(self, name: str, *, reference: Comparison | None = None) -> Report:
        """Give what has been found; call `finish` first."""
        proof = self._proof
        outcomes = []
        for k, rule in enumerate(RULES):
            counts = dict(zip(_WHYS, proof.excused[k].tolist(), strict=True))
            unexplained = counts.pop("")
            explained = {why: count for why, count in counts.items() if count}
            found = sorted((one for one in self._findings if one.rule == rule.name), key=lambda one: one.index)
            checked, held = int(proof.checked[k]), int(proof.held[k])
            outcomes.append(Outcome(rule, checked, held, explained, unexplained, tuple(found)))
        fills = dict(zip((*_WHYS, *WITNESSES), proof.fills.tolist(), strict=True))
        unexplained = fills.pop("")
        front, in_turn = (fills.pop(one) for one in WITNESSES)
        return Report(
            name, self.records, int(self.books._state.books["events"].sum()), len(self.books), tuple(outcomes),
            Fills(front, in_turn, {why: count for why, count in fills.items() if count}, unexplained),
            tuple(Power(rule, *row) for rule, row in zip(WRONG_RULES, proof.power.tolist(), strict=True)),
            equal_size=self.books.equal_size, unfinished=self.unfinished, reference=reference,
        )  # fmt: skip

    def _check(self, records: RecordArray, numbers: _Rows) -> None:
        if not len(records):
            return
        records = as_records(records)
        self._proof.cursor["end"] = 0

        def kernel(state: Any, batch: Any, rows: Any, start: int) -> tuple[int, int]:
            self._make_room()
            return events.check(state, self._proof, batch, rows, start)

        self.books._drive(kernel, records, numbers)
        self._last = records[-1:], int(numbers[-1])
        self._collect(records)
        self._unwalked += len(records)
        if self._unwalked >= max(_WALK_EVERY, int(self.books._state.books["orders"].sum())):
            self._unwalked = 0
            events.walk_all(self.books._state, self._proof, self._last[0][0], self._last[1])
            self._collect(records)

    def _make_room(self) -> None:
        """Have a mark for every order and book that the engine has room for."""
        state, proof = self.books._state, self._proof
        if len(proof.marks) < len(state.orders):
            self._proof = proof = proof._replace(marks=_longer(proof.marks, len(state.orders)))
        if len(proof.books) < len(state.books):
            self._proof = proof._replace(books=_longer(proof.books, len(state.books)))

    def _collect(self, records: RecordArray) -> None:
        """Copy the records of the exceptions that were kept since the last time."""
        kept = self._proof.kept
        for rule, why, place in np.argwhere(kept["fresh"]).tolist():
            row = kept[rule, why, place]
            row["fresh"] = 0
            first, end, at = (int(row[name]) for name in ("first", "end", "at"))
            if end - first > _SHOWN:
                first = max(first, min(at - _SHOWN // 2, end - _SHOWN))
                end = first + _SHOWN
            key = int(row["key"])
            self._findings.append(
                Finding(
                    RULES[rule].name, _WHYS[why], int(row["index"]), int(row["ts_event"]), int(row["order_id"]),
                    self.books.symbols.symbol(key & 0xFFFFFFFF, int(row["ts_event"])), at - first if at >= 0 else None,
                    as_records(records[first:end].copy()),
                )
            )  # fmt: skip


def verify(day: Records, *, reference: str | os.PathLike[str] | None = None, equal_size: EqualSize = "venue") -> Report:
    """Check every record of `day` against the rules of the book and of the exchange, and ask its fills about price-time priority.

    One pass, in memory that does not grow with the file. The report is true where nothing is left unexplained beyond the tolerance
    of its rule (see `mbo.verification.rules`), and, with a `reference`, where that file equals what `day` makes: records of any
    schema and format that `mbo.compare` takes, or a final book. `RequestError` where `day` has no records.

    >>> import mbo
    >>> report = mbo.verify(mbo.read_dbn(mbo.SIMULATED))
    >>> bool(report), report.fills.share
    (True, 1.0)
    """
    checker = Checker(equal_size=equal_size, symbols=day.symbol_map)
    for stretch in day._stretches("verifying"):
        checker.apply(stretch.records, stretch.rows)
    checker.finish()
    if not checker.records:
        raise RequestError("there are no records to verify")
    compared = None if reference is None else _compared(day, reference)
    return checker.report(", ".join(file.path.name for file in day.files), reference=compared)


def _compared(day: Records, reference: str | os.PathLike[str]) -> Comparison:
    """Compare a reference file with the same made from `day`."""
    from mbo import comparison
    from mbo.formats import records_as

    kind = comparison.kind_of(reference)
    return comparison.compare(day.book() if kind == "book" else records_as(day, kind), reference)


def _whole(keys: npt.NDArray[np.int64], ends: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Say which records belong to an event whose end is there; the records stand event by event, or book by book."""
    places = np.arange(len(keys))
    last_of_run = np.ones(len(keys), bool)
    last_of_run[:-1] = keys[1:] != keys[:-1]
    stops = ends | last_of_run
    following = np.flatnonzero(stops)[np.searchsorted(np.flatnonzero(stops), places)]
    return ends[following]


def _longer(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer
