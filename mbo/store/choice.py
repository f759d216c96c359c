"""Which of the stored files a question is about."""

from __future__ import annotations

from mbo.errors import RequestError, SymbolError, TimeError
from mbo.store import ledger, replacing
from mbo.store.ledger import Entry
from mbo.units import format_time


def several(
    entries: list[Entry], file: str | int | None, names: list[str | int] | None, start: int | None, end: int | None
) -> list[Entry]:
    """Choose the files with messages of these symbols from `start` until before `end` (ns UTC), in the order of their time.

    `RequestError` where they hold the same time of the same instruments or are of several data sets, `SymbolError` where none
    knows the symbols. One `file` is chosen by its name.
    """
    if file is not None:
        return [ledger.pick(entries, file)]
    if names is not None:
        entries = _having(entries, names)
    low, high = start if start is not None else 0, end if end is not None else 2**64
    timed = [entry for entry in entries if entry.ts_min < high and entry.ts_max >= low] or entries
    timed.sort(key=lambda entry: (entry.ts_min, entry.ts_max, entry.file_id))
    replacing.refuse_overlaps(timed)
    return timed


def one(entries: list[Entry], file: str | int | None, symbol: str | int | None, at: int | None) -> Entry:
    """Choose the one file whose book is asked for: the one that covers `at` (ns UTC), by its header or else by its messages."""
    if file is not None:
        return ledger.pick(entries, file)
    if symbol is not None:
        entries = _having(entries, [symbol])
    if at is not None and len(entries) > 1:
        by_header = [entry for entry in entries if entry.header_covers[0] <= at <= entry.header_covers[1]]
        entries = by_header or [entry for entry in entries if entry.covers(at)]
        if not entries:
            raise TimeError(f"no stored file covers {format_time(at)}")
    if len(entries) > 1:
        names = ", ".join(entry.name for entry in entries[:8])
        raise RequestError(f"{len(entries)} stored files fit ({names}): say which with file=, or the instant with at=")
    return entries[0]


def _having(entries: list[Entry], names: list[str | int]) -> list[Entry]:
    """Keep the files that know one of the symbols, or have messages of that instrument; `SymbolError` where none has."""
    ids = {int(name) for name in map(str, names) if name.isascii() and name.isdigit()}
    left = [
        entry
        for entry in entries
        if ids & set(entry.instruments) or {str(n) for n in names} & {m.symbol for m in entry.mappings}
    ]
    if left:
        return left
    known = list(dict.fromkeys(mapping.symbol for entry in entries for mapping in entry.mappings))
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    raise SymbolError(f"no symbol {names[0]!r} in the data" + (f": it has {shown}" if shown else ""))
