"""Records of one Databento schema as a lazy stream: arrays of its records, or Arrow with its columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mbo.ahead import ahead
from mbo.schemas import ArrowStream, PriceAs, columns_of, dtype_of, to_arrow
from mbo.symbols import SymbolMap
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP

if TYPE_CHECKING:
    import pyarrow as pa
    from databento_dbn import Metadata

Arrays = Callable[[], Iterator[npt.NDArray[Any]]]


class RecordStream(ArrowStream):
    """Records of `schema` ("mbo", "mbp-10", "mbp-1", "tbbo", "trades", "bbo-1s", "bbo-1m"), made as they are asked for.

    `batches()` gives them as structured arrays in DBN's own layout; as Arrow (`pl.DataFrame(stream)`) they have Databento's
    columns, prices as `px` says, missing values null. Both can be asked for any number of times. `metadata` is the DBN header of a
    file of them (version 3).
    """

    def __init__(
        self, schema: str, arrays: Arrays, *, metadata: Metadata, symbol_map: SymbolMap, px: PriceAs = "fixed"
    ) -> None:
        self.schema = schema
        self.dtype = dtype_of(schema)
        self.metadata = metadata
        self._arrays = arrays
        self._symbol_map = symbol_map
        self._px = px
        super().__init__(self._arrow, f"<{schema} stream of {metadata.dataset}>")

    def batches(self) -> Iterator[npt.NDArray[Any]]:
        """Give the records in order, in arrays of `dtype` of no fixed length."""
        return self._arrays()

    def _arrow(self) -> Iterator[pa.RecordBatch]:
        yield self._to_arrow(np.empty(0, self.dtype))  # for its schema
        for array in ahead(self.batches()):
            yield self._to_arrow(array)

    def _to_arrow(self, array: npt.NDArray[Any]) -> pa.RecordBatch:
        symbol = self._symbol_map.column(array)
        return to_arrow(array, columns_of(self.schema), px=self._px, extra={"symbol": symbol})


def metadata_like(original: Metadata, schema: str) -> Metadata:
    """Make the header of a file of another schema: the same data set, times, symbols and mappings, in DBN version 3."""
    from mbo.symbols import from_metadata

    return header(original, schema, end=original.end, symbol_map=from_metadata(original))


def header(original: Metadata, schema: str, *, end: int | None, symbol_map: SymbolMap) -> Metadata:
    """Make the header of a file of `schema` (DBN version 3): data set and start of the original, these symbols, from name to id."""
    from databento_dbn import Metadata, Schema, SType

    mappings: dict[str, list[SimpleNamespace]] = {}
    for mapping in symbol_map:
        interval = SimpleNamespace(
            start_date=_day(mapping.start), end_date=_day(mapping.end), symbol=str(mapping.instrument_id)
        )
        mappings.setdefault(mapping.symbol, []).append(interval)
    asked = str(original.stype_in or "instrument_id")
    by_name = SType.from_str("raw_symbol" if asked == "instrument_id" else asked)
    return Metadata(
        dataset=original.dataset, start=original.start, end=end, limit=None, schema=Schema.from_str(schema), version=3,
        stype_in=by_name, stype_out=SType.from_str("instrument_id"),
        symbols=symbol_map.symbols, partial=original.partial, not_found=original.not_found,
        mappings=[SimpleNamespace(raw_symbol=name, intervals=intervals) for name, intervals in mappings.items()],
    )  # fmt: skip


def _day(ns: int) -> dt.date:
    """Give the UTC day of a time as DBN headers hold it: a time without end is the last day there is."""
    return dt.date.max if ns == UNDEF_TIMESTAMP else dt.date(1970, 1, 1) + dt.timedelta(days=ns // (86_400 * NS_PER_S))
