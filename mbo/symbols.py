"""Which symbol an instrument id stands for, and when: from a file's metadata or from the mapping records of a live stream."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mbo.errors import SymbolError
from mbo.records import times_of
from mbo.units import UNDEF_TIMESTAMP, parse_time

if TYPE_CHECKING:
    import pyarrow as pa
    from databento_dbn import Metadata


@dataclass(frozen=True, slots=True)
class Mapping:
    """`symbol` stands for `instrument_id` from `start` up to and without `end` (ns UTC, on the index timestamp ts_recv)."""

    symbol: str
    instrument_id: int
    start: int = 0
    end: int = UNDEF_TIMESTAMP

    def holds(self, times: Any) -> Any:
        """Say whether it holds at an instant, or at each of an array of them (uint64)."""
        return (times >= self.start) & ((times < self.end) | (self.end == UNDEF_TIMESTAMP))


class SymbolMap:
    """Mappings between symbols and instrument ids, looked up in either direction.

    >>> names = SymbolMap([Mapping("CLX5", 432669)])
    >>> names.symbol(432669), names.find("CLX5")[0].instrument_id, names.symbol(7)
    ('CLX5', 432669, '7')
    """

    def __init__(self, mappings: Iterable[Mapping] = ()) -> None:
        self._by_symbol: dict[str, list[Mapping]] = defaultdict(list)
        self._by_id: dict[int, list[Mapping]] = defaultdict(list)
        self._mappings = list(dict.fromkeys(mappings))
        for mapping in self._mappings:
            self._by_symbol[mapping.symbol].append(mapping)
            self._by_id[mapping.instrument_id].append(mapping)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def __len__(self) -> int:
        return len(self._mappings)

    @property
    def symbols(self) -> list[str]:
        """Every symbol once, in the order of the metadata or the stream."""
        return list(self._by_symbol)

    def symbol(self, instrument_id: int, at: int | None = None) -> str:
        """Name an instrument at an instant (ns UTC), else at any time it has a name, else by its id in digits."""
        own = self._by_id.get(instrument_id, [])
        now = [mapping for mapping in own if at is not None and mapping.holds(at)]
        return (now or own)[-1].symbol if own else str(instrument_id)

    def column(self, records: npt.NDArray[Any]) -> pa.DictionaryArray:
        """Name every record's instrument at its ts_recv, as an Arrow dictionary; one without a name then is null."""
        import pyarrow as pa

        code, names = self._dictionary
        encoded = pa.array(np.ascontiguousarray(records["instrument_id"])).dictionary_encode()
        ids, place = encoded.dictionary.to_numpy(), encoded.indices.to_numpy()
        times = times_of(records)
        ends = (int(times.min()), int(times.max())) if len(times) else ()
        whole = np.full(len(ids), -1, np.int32)  # the name of an instrument that has just one in all of these records
        partly: list[tuple[int, Mapping]] = []
        for number, instrument_id in enumerate(ids.tolist()):
            for mapping in self._by_id.get(instrument_id, []):
                if all(map(mapping.holds, ends)):
                    whole[number] = code[mapping.symbol]
                else:
                    partly.append((number, mapping))
        codes = whole[place]
        for number, mapping in partly:
            codes[(place == number) & (whole[number] < 0) & mapping.holds(times)] = code[mapping.symbol]
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), names)

    @functools.cached_property
    def _dictionary(self) -> tuple[dict[str, int], pa.StringArray]:
        import pyarrow as pa

        return {name: number for number, name in enumerate(self._by_symbol)}, pa.array(self.symbols, pa.string())

    def find(self, symbol: str | int) -> list[Mapping]:
        """Find what a symbol, or an instrument id (a number, also in digits), stands for; else `SymbolError`."""
        if isinstance(symbol, str) and symbol in self._by_symbol:
            return list(self._by_symbol[symbol])
        digits = str(symbol)
        if digits.isascii() and digits.isdigit() and int(digits) < 2**32:
            return [Mapping(digits, int(digits))]
        known = ", ".join(self.symbols[:8]) + (", ..." if len(self.symbols) > 8 else "")
        raise SymbolError(f"no symbol {symbol!r} in the data" + (f": it has {known}" if known else ""))


def from_metadata(metadata: Metadata) -> SymbolMap:
    """Read the mappings of a DBN header; either of its two columns may hold the instrument id, else `ValueError`."""
    inverse = str(metadata.stype_in) == "instrument_id"
    place = {name: number for number, name in enumerate(metadata.symbols)}
    # The library keeps the mappings in a hash table: their order changes from process to process.
    ordered = sorted(metadata.mappings.items(), key=lambda item: (place.get(item[0], len(place)), item[0]))
    return SymbolMap(
        Mapping(
            symbol=_printable(interval["symbol"] if inverse else name),
            instrument_id=_instrument_id(name if inverse else interval["symbol"]),
            start=parse_time(interval["start_date"]),
            end=parse_time(interval["end_date"]),
        )
        for name, intervals in ordered
        for interval in intervals
        if interval["symbol"]  # an empty one says that the symbol did not exist on those days
    )


def _instrument_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise ValueError(f"{text!r} is not an instrument id")
    return int(text)


def from_messages(messages: npt.NDArray[Any]) -> list[Mapping]:
    """Read mapping records of a live stream (`MAPPING_DTYPE` or version 1's); one without times holds for the whole stream.

    The name is the symbol that was subscribed to where the other is the instrument id in digits, as in Databento's client.
    """
    mappings = []
    for message in messages:
        asked, symbol = (_text(message[name]) for name in ("stype_in_symbol", "stype_out_symbol"))
        start, end = (int(message[name]) for name in ("start_ts", "end_ts"))
        name = asked if symbol.isdigit() else symbol
        mappings.append(Mapping(name, int(message["instrument_id"]), 0 if start == UNDEF_TIMESTAMP else start, end))
    return mappings


def _text(cstring: bytes) -> str:
    return _printable(cstring.partition(b"\0")[0].decode("utf-8", "replace"))


def _printable(symbol: str) -> str:
    """Mark what damage made of a symbol, so that it can stand in a sentence, a file's name and on a terminal."""
    return symbol if symbol.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in symbol)
