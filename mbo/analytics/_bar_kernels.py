"""Which bar a trade is in, where bars end by what has traded and not by the clock."""

from __future__ import annotations

from typing import Any

from mbo._jit import kernel


@kernel
def number_bars(values: Any, first: Any, threshold: Any, bars: Any) -> None:
    """Write the number of each row's bar to `bars` (int64).

    A bar ends with the row that brings its sum of `values` (float64) to `threshold`, and where `first` says that another book
    begins.
    """
    bar = -1
    total = 0.0
    ended = True
    for i in range(values.shape[0]):
        if ended or first[i]:
            bar += 1
            total = 0.0
        total += values[i]
        ended = total >= threshold
        bars[i] = bar
