"""Comparison of ours with a reference: records of one schema, or final books, with every difference counted and the first shown.

Records are aligned by (ts_recv, sequence, action, price, size): the k-th record with such a key in one is the k-th in the other.
Levels of a book are aligned by side and price. Everything works on whole columns: millions of records take seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo import formats
from mbo.errors import FormatError, RequestError
from mbo.loading import RTYPE_OF
from mbo.records import Side, letter
from mbo.schemas import columns_of, dtype_of
from mbo.streams import RecordStream
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP, format_price, format_time

if TYPE_CHECKING:
    from mbo.book import Book

    Comparable = str | os.PathLike[str] | RecordStream | npt.NDArray[Any] | Mapping[str, Any] | Book

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]

KEY: Final = ("ts_recv", "sequence", "action", "price", "size")
BOOK_FIELDS: Final = (
    "symbol", "instrument_id", "publisher_id", "ts_event", "ts_recv", "sequence", "orders", "digest",
)  # fmt: skip
"""What is compared of a final book beside its levels, where both documents have it."""
_LEVEL: Final = np.dtype([("side", "u1"), ("price", "<i8"), ("size", "<u8"), ("count", "<u8")])
_SHOWN: Final = 3  # first occurrences of each difference that are kept
_CHUNK: Final = 1 << 14


class Example(NamedTuple):
    """One occurrence of a difference: the numbers of the two records (or levels), None where there is none, and what they hold."""

    ours: int | None
    reference: int | None
    our_value: str
    reference_value: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One kind of difference: `what` is a column, or "only in ours", "only in the reference" or "order"."""

    what: str
    count: int
    first: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found. It prints as a table; `document()` is the same for machines."""

    kind: str
    """The schema of the records, or "book"."""
    ours: str
    reference: str
    ours_count: int
    """Records, or levels of a book."""
    reference_count: int
    equal_count: int
    """Pairs that are equal in every column that was compared."""
    differences: tuple[Difference, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def equal(self) -> bool:
        """Nothing differs."""
        return not self.differences

    @property
    def share_equal(self) -> float:
        """Equal pairs by all records there are in either, 0 to 1; 1 where both have none."""
        alone = sum(one.count for one in self.differences if one.what == _ONLY_REFERENCE)
        total = self.ours_count + alone
        return self.equal_count / total if total else 1.0

    def document(self) -> dict[str, Any]:
        """Describe it in plain values, ready for JSON."""
        named = [asdict(one) | {"first": [example._asdict() for example in one.first]} for one in self.differences]
        return asdict(self) | {"equal": self.equal, "share_equal": self.share_equal, "differences": named}

    def rows(self) -> list[tuple[str, ...]]:
        """List the differences as (what, how often, number in ours, in the reference, our value, the reference's)."""
        return [
            (one.what, f"{one.count:,}", _number(example.ours), _number(example.reference), *example[2:])
            if not number
            else ("", "", _number(example.ours), _number(example.reference), *example[2:])
            for one in self.differences
            for number, example in enumerate(one.first)
        ]

    def __str__(self) -> str:
        lines = [f"ours       {self.ours}: {self._counted(self.ours_count)}"]
        lines.append(f"reference  {self.reference}: {self._counted(self.reference_count)}")
        lines.append(f"equal      {self._verdict()}")
        lines += [f"ignored    {', '.join(self.ignored)}"] if self.ignored else []
        lines += [f"note       {note}" for note in self.notes]
        if self.differences:
            table = [_HEAD, *self.rows()]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines.append("")
            lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Comparison of {self.kind}: {self._verdict()}>"

    def _repr_html_(self) -> str:
        from html import escape

        head, *rows = [[escape(cell) for cell in row] for row in [_HEAD, *self.rows()]]
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        caption = escape(f"{self.ours} and {self.reference}: {self._verdict()}")
        columns = "".join(f"<th>{cell}</th>" for cell in head)
        return f"<table><caption>{caption}</caption>" + (f"<tr>{columns}</tr>{body}" if rows else "") + "</table>"

    def _counted(self, count: int) -> str:
        return f"{count:,} {'levels' if self.kind == 'book' else self.kind + ' records'}"

    def _verdict(self) -> str:
        percent = int(self.share_equal * 10_000) / 100  # cut, not rounded: 100 % is all of them
        different = "" if self.equal else ", different"
        return f"{self._counted(self.equal_count)}, {percent:.2f} %{different}"


_HEAD: Final = ("difference", "count", "ours at", "reference at", "ours", "reference")
_ONLY_OURS, _ONLY_REFERENCE, _ORDER = "only in ours", "only in the reference", "order"


def compare(ours: Comparable, reference: Comparable, *, ignore: Collection[str] = ()) -> Comparison:
    """Compare records or final books with a reference, leaving out the columns in `ignore`.

    Either side is a path (any format of `mbo.formats`, or a final book's JSON document), a stream such as `day.mbp(10)`, an array
    of records, a `Book` or its document. Ignored columns do not align records either. Raises `RequestError` where the two are not
    of one kind or a name in `ignore` is no column of theirs, `DataError` where a file cannot be read.
    """
    left, right = _load(ours, "ours"), _load(reference, "reference")
    ignored = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    book = left.kind == "book"
    columns = ("side", "price", "size", "count") if book else columns_of(left.kind)
    # A CSV file of tbbo cannot say that it is not mbp-1: what has the same columns can be compared.
    if left.kind != right.kind and ("book" in (left.kind, right.kind) or columns != columns_of(right.kind)):
        raise RequestError(f"{left.name} is {left.kind} and {right.name} is {right.kind}: they cannot be compared")
    if unknown := set(ignored) - {*columns, *(BOOK_FIELDS if book else ())}:
        raise RequestError(f"no column {sorted(unknown)[0]!r} to ignore: there are {', '.join(columns)}")
    compared = [name for name in columns if name not in ignored]
    key = [name for name in (("side", "price") if book else KEY) if name not in ignored]
    if book and len(key) < 2:
        raise RequestError("the levels of a book are aligned by side and price, which cannot be ignored")
    found, equal = _differences(left.records, right.records, key, compared, in_order=not book)
    fields = [name for name in BOOK_FIELDS if name in left.fields and name in right.fields and name not in ignored]
    found = [*_field_differences(left.fields, right.fields, fields), *found]
    return Comparison(
        left.kind, left.name, right.name, len(left.records), len(right.records), equal, tuple(found), ignored,
        notes=left.notes + right.notes,
    )  # fmt: skip


def kind_of(reference: Comparable) -> str:
    """Say what a side of a comparison is: a schema of records, or "book"."""
    return _load(reference, "reference").kind


# ---------------------------------------------------------------- what is compared


class _Loaded(NamedTuple):
    kind: str
    name: str
    records: Array
    fields: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()


def _load(source: Any, name: str) -> _Loaded:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        document = _book_document(path)
        if document is not None:
            return _book(document, str(path))
        file = formats.read(path)
        notes = (
            (f"{path} is a fragment: {len(file.records):,} whole records of it are compared",) if file.fragment else ()
        )
        return _Loaded(file.schema, str(path), file.records, notes=notes)
    if isinstance(source, RecordStream):
        arrays = list(source.batches())
        return _Loaded(source.schema, name, np.concatenate(arrays) if arrays else np.empty(0, source.dtype))
    if isinstance(source, np.ndarray):
        alike = [schema for schema in formats.SCHEMAS if source.dtype == dtype_of(schema)]
        for schema in alike:
            if not source.size or schema == alike[-1] or source.flat[0]["rtype"] == RTYPE_OF[schema]:
                return _Loaded(schema, name, source.reshape(-1))
        raise RequestError(f"{name} is an array of {source.dtype}, not of records")
    if isinstance(source, Mapping):
        return _book(source, name)
    if hasattr(source, "document"):
        return _book(source.document(), name)
    raise RequestError(f"{name} is a {type(source).__name__}: give a path, a stream or array of records, or a book")


def _book_document(path: Path) -> Mapping[str, Any] | None:
    """Read a final book's document; None where the file is something else."""
    if not path.name.endswith(".json") or path.is_dir():
        return None
    with path.open("rb") as file:
        start = file.read(1 << 12)
    if not start.lstrip().startswith(b"{") or b'"hd"' in start:
        return None
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise FormatError(f"{path} is not JSON: {error}", path=str(path)) from None
    assert isinstance(document, dict)
    return document


def _book(document: Mapping[str, Any], name: str) -> _Loaded:
    try:
        rows = [
            (int(side), level["price"], level["size"], level["count"])
            for side, levels in ((Side.BID, document["bids"]), (Side.ASK, document["asks"]))
            for level in levels
        ]
        if any(type(value) is not int for row in rows for value in row):
            raise TypeError
        return _Loaded("book", name, np.array(rows, _LEVEL), document)
    except (KeyError, TypeError, OverflowError, ValueError):
        sentence = (
            f"{name} is no final book: it has to have bids and asks, lists of levels with integer price, size and count"
        )
        raise FormatError(sentence, path=name) from None


# ---------------------------------------------------------------- alignment and differences


def align(ours: Array, reference: Array, key: Iterable[str]) -> tuple[Indices, Indices]:
    """Pair records: the k-th of ours with some key and the k-th of the reference with it, in the order of ours.

    >>> ours, reference = (np.array(values, [("price", "i8")]) for values in ([5, 5, 7], [7, 5]))
    >>> [indices.tolist() for indices in align(ours, reference, ["price"])]
    [[0, 2], [1, 0]]
    """
    key = list(key)
    both = min(len(ours), len(reference))
    same = np.ones(both, bool)
    for name in key:
        same &= ours[name][:both] == reference[name][:both]
    common = both if same.all() else int(same.argmin())  # what begins alike needs no search
    tails = ours[common:], reference[common:]
    count = len(tails[0])
    if not key:
        return np.arange(both), np.arange(both)
    columns = [np.concatenate([tail[name] for tail in tails]) for name in key]
    order = np.lexsort(columns[::-1])  # stable: in each group ours first, both in their own order
    new = np.ones(len(order), bool)
    if len(order):
        new[1:] = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in columns])
    group = np.cumsum(new) - 1
    mine = order < count
    in_group = np.bincount(group, mine, minlength=1).astype(np.intp)  # how many of ours
    rank = np.arange(len(order)) - np.flatnonzero(new)[group] - np.where(mine, 0, in_group[group])
    theirs_in_group = np.bincount(group, ~mine, minlength=1).astype(np.intp)
    paired = rank < np.minimum(in_group, theirs_in_group)[group]
    left, right = order[paired & mine], order[paired & ~mine] - count  # both by group, then by rank
    by_ours = np.argsort(left)
    start = np.arange(common)
    return np.concatenate([start, left[by_ours] + common]), np.concatenate([start, right[by_ours] + common])


def _differences(
    ours: Array, reference: Array, key: list[str], compared: list[str], *, in_order: bool
) -> tuple[list[Difference], int]:
    left, right = align(ours, reference, key)
    equal = np.ones(len(left), bool)
    counts: dict[str, int] = dict.fromkeys(compared, 0)
    examples: dict[str, list[Example]] = {name: [] for name in compared}
    for start, one, other in _unlike(ours, reference, left, right):
        for name in compared:
            wrong = np.flatnonzero(ours[name][one] != reference[name][other])
            counts[name] += len(wrong)
            equal[start[wrong]] = False
            for place in wrong[: _SHOWN - len(examples[name])].tolist():
                i, j = int(one[place]), int(other[place])
                examples[name].append(Example(i, j, show(name, ours[name][i]), show(name, reference[name][j])))
    found = [Difference(name, counts[name], tuple(examples[name])) for name in compared if counts[name]]
    alone = np.setdiff1d(np.arange(len(ours)), left, assume_unique=True)
    missing = np.setdiff1d(np.arange(len(reference)), right, assume_unique=True)
    if len(alone):
        first = tuple(Example(int(i), None, _line(ours[i], key), "") for i in alone[:_SHOWN])
        found.append(Difference(_ONLY_OURS, len(alone), first))
    if len(missing):
        first = tuple(Example(None, int(j), "", _line(reference[j], key)) for j in missing[:_SHOWN])
        found.append(Difference(_ONLY_REFERENCE, len(missing), first))
    moved = np.flatnonzero(right[1:] < right[:-1]) + 1 if in_order else np.empty(0, np.intp)
    if len(moved):
        first = tuple(
            Example(int(left[k]), int(right[k]), _line(ours[left[k]], key), "comes earlier") for k in moved[:_SHOWN]
        )
        found.append(Difference(_ORDER, len(moved), first))
    return found, int(equal.sum())


def _unlike(ours: Array, reference: Array, left: Indices, right: Indices) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Find the pairs whose bytes are not the same: (numbers of the pairs, of ours, of the reference), piece by piece."""
    for start in range(0, len(left), _CHUNK):
        one, other = left[start : start + _CHUNK], right[start : start + _CHUNK]
        bytes_of = [
            np.ascontiguousarray(array).view(np.uint8).reshape(len(one), -1) for array in (ours[one], reference[other])
        ]
        rows = np.flatnonzero((bytes_of[0] != bytes_of[1]).any(axis=1))
        if len(rows):
            yield start + rows, one[rows], other[rows]


def _field_differences(
    ours: Mapping[str, Any], reference: Mapping[str, Any], names: Iterable[str]
) -> Iterator[Difference]:
    for name in names:
        if ours[name] != reference[name]:
            yield Difference(name, 1, (Example(None, None, show(name, ours[name]), show(name, reference[name])),))


# ---------------------------------------------------------------- for people


def show(name: str, value: Any) -> str:
    """Write a column's value for a person: prices as decimals, times as text, letters; what is missing is "none"."""
    if not isinstance(value, int | np.integer):
        return str(value)
    number = int(value)
    if name == "price" or "_px_" in name:
        return "none" if number == UNDEF_PRICE else format_price(number, 2)
    if name in ("ts_recv", "ts_event"):
        return "none" if number == UNDEF_TIMESTAMP else format_time(number)
    return letter(number) if name in ("action", "side") else str(number)


def _line(record: Any, key: Iterable[str]) -> str:
    return " ".join(
        f"{name} {show(name, record[name])}" if name in ("sequence", "size") else show(name, record[name])
        for name in key
    )


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
