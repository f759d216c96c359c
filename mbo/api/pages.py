"""Stored records page by page: a cursor says behind which record the next page begins, so that pages stay what they are.

Records are in their files' order, in which ts_recv may go back. So a cursor is a file and a record's number in it, and not a time;
what is recorded meanwhile comes behind it. It says too to which question it belongs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import orjson

from mbo.api.problems import ProblemError
from mbo.records import Action
from mbo.schemas import columns_of, to_arrow, trades_of
from mbo.selection import Stretch
from mbo.store.columns import from_column, to_mbp10, to_messages
from mbo.store.stored import PAGE_ROWS, StoredFile, pushed_down
from mbo.units import NS_PER_S

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.schemas import PriceAs
    from mbo.selection import Selection
    from mbo.store import Store
    from mbo.symbols import SymbolMap

Schema = Literal["trades", "mbp-10", "mbp-1"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: the records of a symbol with `start` <= ts_recv < `end` (ns UTC), `px` as in `mbo.schemas.PriceAs`."""

    schema: str
    symbol: str
    start: int
    end: int
    file: str | None = None
    px: str = "fixed"
    interval: str = ""

    @property
    def mark(self) -> str:
        """Tell it from other questions."""
        return hashlib.blake2b(orjson.dumps(asdict(self)), digest_size=6).hexdigest()


class Cursor(NamedTuple):
    """Behind which record: that number `row` of file `file`, of which `skip` records came; or behind `skip` rows in all."""

    file: int
    row: int
    skip: int

    def text(self, question: Question) -> str:
        """Write it for the client, who need not understand it."""
        raw = orjson.dumps([1, question.mark, str(self.file), self.row, self.skip])
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_START: Final = Cursor(0, 0, 0)


def cursor_of(text: str | None, question: Question) -> Cursor:
    """Read a cursor; a problem where it is none, or belongs to another question."""
    if text is None:
        return _START
    try:
        found = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        version, mark, file, row, skip = found
        cursor = Cursor(int(file), row, skip)
        sound = version == 1 and type(row) is type(skip) is int and min(cursor) >= 0 and max(cursor) < 2**64
    except (binascii.Error, TypeError, ValueError):
        raise ProblemError(422, "the cursor is none that was given here") from None
    if not sound or mark != question.mark:
        raise ProblemError(422, "the cursor belongs to another question: leave everything else as it was")
    return cursor


class Page(NamedTuple):
    """Rows, and the cursor of the next page; None behind the last."""

    table: pa.Table
    cursor: str | None


def check_range(start: int, end: int, longest_s: float) -> None:
    """Refuse a range that is empty or too long."""
    if start >= end:
        raise ProblemError(422, "nothing lies between start and end: the end has to be later")
    if end - start > longest_s * NS_PER_S:
        raise ProblemError(422, f"a question may span no more than {longest_s:g} s of data: ask for less at a time")


def read_page(store: Store, question: Question, cursor: Cursor, limit: int) -> Page:
    """Read a page of at most `limit` rows; raises what the store does."""
    records = store.records(question.symbol, start=question.start, end=question.end, file=question.file)
    if question.schema == "bars":
        return _sliced(store.bars(
            question.interval, question.symbol, start=question.start, end=question.end, file=question.file
        ), question, cursor, limit)  # fmt: skip
    files: tuple[StoredFile, ...] = records._stored
    if question.schema == "mbp-10" and not all("mbp10" in file.entry.targets for file in files):
        raise ProblemError(409, "what is asked for was stored without MBP-10: ingest it again with it")
    if question.schema == "mbp-1":
        return _derived(store, question, cursor, limit)
    pieces, rows, behind = [], 0, None
    for file, array, numbers in _following(files, records.selection, question.schema, cursor, limit):
        taken = min(len(array), limit + 1 - rows)
        pieces.append(array[:taken])
        if rows + taken > limit:
            last = taken - 2
            behind = _behind(cursor, file, numbers, last, behind)
            pieces[-1] = array[: taken - 1]
            return Page(_table(pieces, question, records.symbol_map), behind.text(question) if behind else None)
        rows += taken
        if taken:
            behind = _behind(cursor, file, numbers, taken - 1, behind)
    return Page(_table(pieces, question, records.symbol_map), None)


def _behind(cursor: Cursor, file: int, numbers: Any, last: int, before: Cursor | None) -> Cursor | None:
    """Point behind the record at `last`; where that is -1, where it pointed before."""
    if last < 0:
        return before
    row = int(numbers[last])
    same = int((numbers[: last + 1] == row).sum())
    earlier = cursor if before is None else before
    if same == last + 1 and (earlier.file, earlier.row) == (file, row):
        same += earlier.skip
    return Cursor(file, row, same)


def _following(
    files: tuple[StoredFile, ...], chosen: Selection, schema: str, cursor: Cursor, limit: int
) -> Iterator[tuple[int, Any, Any]]:
    """Give the records behind a cursor, piece by piece: (file, records, their rows' numbers)."""
    known = [file.entry.file_id for file in files]
    if cursor != _START and cursor.file not in known:
        raise ProblemError(410, "what the cursor pointed into is not stored any more: begin again without it")
    skipped = known.index(cursor.file) if cursor != _START else 0
    table = "messages" if schema == "trades" else "mbp10"
    for file in files[skipped:]:
        where, params, share = pushed_down(chosen, file.entry)
        here = cursor if cursor.file == file.entry.file_id else _START
        if schema == "trades":
            where += " AND action = 'T'"
        if here.row:
            where += " AND row_num >= {after:UInt64}"
            params["after"] = here.row
        skip = here.skip
        # So many rows at a time that about twice as many as are wanted are left of them; a trade is one message of ten or more.
        step = (2 if table == "mbp10" else 20) * (limit + 500)
        for found, _ in file.pages(table, where or " AND 1", params, share * PAGE_ROWS / step):
            numbers = from_column("row_num", found.column("row_num")).astype(np.int64)
            read = to_messages(found) if schema == "trades" else to_mbp10(found)
            stretch = chosen.of(Stretch(read, numbers))
            array, numbers = stretch.records, stretch.numbers
            if schema == "trades":
                numbers = numbers[array["action"] == Action.TRADE]
                array = trades_of(array)
            if skip:
                again = int(min(skip, (numbers == here.row).sum()))
                array, numbers, skip = array[again:], numbers[again:], skip - again
                if len(numbers) and numbers[0] != here.row:
                    skip = 0
            if len(array):
                yield file.entry.file_id, array, numbers


def _derived(store: Store, question: Question, cursor: Cursor, limit: int) -> Page:
    """Read records that are made from the messages each time: the cursor counts them."""
    stream = store.mbp(1, question.symbol, start=question.start, end=question.end, file=question.file)
    pieces, left, rows = [], cursor.skip, 0
    for array in stream.batches():
        part = array[left:]
        left = max(0, left - len(array))
        pieces.append(part[: limit + 1 - rows])
        rows += len(pieces[-1])
        if rows > limit:
            pieces[-1] = pieces[-1][:-1]
            break
    table = _table(pieces, question, store.records(question.symbol, file=question.file).symbol_map)
    return Page(table, Cursor(0, 0, cursor.skip + limit).text(question) if rows > limit else None)


def _sliced(table: pa.Table, question: Question, cursor: Cursor, limit: int) -> Page:
    more = table.num_rows > cursor.skip + limit
    text = Cursor(0, 0, cursor.skip + limit).text(question) if more else None
    return Page(table.slice(cursor.skip, limit), text)


def _table(pieces: list[Any], question: Question, symbols: SymbolMap) -> pa.Table:
    import pyarrow as pa

    from mbo.schemas import dtype_of

    array = np.concatenate(pieces) if pieces else np.empty(0, dtype_of(question.schema))
    px: PriceAs = question.px  # type: ignore[assignment]
    batch = to_arrow(array, columns_of(question.schema), px=px, extra={"symbol": symbols.column(array)})
    return pa.Table.from_batches([batch])
