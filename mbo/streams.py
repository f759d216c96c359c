"""Records of one Databento schema as a lazy stream: arrays of its records, or Arrow with its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mbo.schemas import ArrowStream, PriceAs, columns_of, dtype_of, to_arrow
from mbo.symbols import SymbolMap

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
        for array in self.batches():
            yield self._to_arrow(array)

    def _to_arrow(self, array: npt.NDArray[Any]) -> pa.RecordBatch:
        symbol = self._symbol_map.column(array)
        return to_arrow(array, columns_of(self.schema), px=self._px, extra={"symbol": symbol})


def metadata_like(original: Metadata, schema: str, *, end: int | None = None) -> Metadata:
    """Make the header of a file of another schema: the same data set, times, symbols and mappings, in DBN version 3."""
    from databento_dbn import Metadata, Schema

    mappings = [
        SimpleNamespace(raw_symbol=name, intervals=[SimpleNamespace(**interval) for interval in intervals])
        for name, intervals in sorted(original.mappings.items())
    ]
    return Metadata(
        dataset=original.dataset, start=original.start, end=original.end if end is None else end, limit=None,
        stype_in=original.stype_in, stype_out=original.stype_out, schema=Schema.from_str(schema), version=3,
        symbols=original.symbols, partial=original.partial, not_found=original.not_found, mappings=mappings,
    )  # fmt: skip
