"""What a stream of MBO records holds, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mbo.records import Flag, RecordArray, letter
from mbo.selection import book_keys
from mbo.units import UNDEF_TIMESTAMP


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a stream. Times are ns UTC, `first` and `last` by ts_recv and None where no record has one."""

    records: int
    events: int
    """Records with F_LAST."""
    first: int | None
    last: int | None
    actions: Mapping[str, int] = field(default_factory=dict)
    """By letter."""
    instruments: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Records by (publisher_id, instrument_id)."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """What is not MBO, by record type."""

    @classmethod
    def of(cls, batches: Iterable[RecordArray], skipped: Mapping[str, int]) -> Summary:
        """Count every batch; `skipped` is read when they are at their end."""
        records = events = 0
        actions: Counter[int] = Counter()
        instruments: Counter[tuple[int, int]] = Counter()
        first, last = UNDEF_TIMESTAMP, -1
        for batch in batches:
            records += len(batch)
            events += int(np.count_nonzero(batch["flags"] & int(Flag.LAST)))
            actions.update(_counted(batch["action"]))
            instruments.update({(key >> 32, key & 0xFFFFFFFF): n for key, n in _counted(book_keys(batch)).items()})
            times = batch["ts_recv"][batch["ts_recv"] != UNDEF_TIMESTAMP]
            if len(times):
                first, last = min(first, int(times.min())), max(last, int(times.max()))
        return cls(
            records, events, None if last < 0 else first, None if last < 0 else last,
            {letter(code): n for code, n in actions.most_common()}, dict(instruments.most_common()), dict(skipped),
        )  # fmt: skip


def _counted(values: Any) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
