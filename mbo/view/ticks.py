"""Ticks: the price axis of a picture, inferred from the prices themselves where nobody has said what it is."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.units import PRICE_SCALE, UNDEF_PRICE, decimals_of

NONE: Final = -(2**31)
"""The tick of a price that is missing, or too far away for an int32."""
_FAR: Final = 2**31 - 2


class Ticks(NamedTuple):
    """A grid of prices: tick x `size` + `offset`, in units of 1e-9, 0 <= offset < size. `inferred` says that nobody has told."""

    size: int
    offset: int = 0
    inferred: bool = False

    @property
    def decimals(self) -> int:
        """How many places it takes to write any price of the grid."""
        return decimals_of([self.size, self.offset])

    def of(self, prices: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Give the tick of each price (1e-9), the one below where it is between two; `NONE` where there is no price.

        >>> Ticks(10_000_000).of([64_820_000_000, 64_825_000_000, 2**63 - 1]).tolist()
        [6482, 6482, -2147483648]
        """
        given = np.asarray(prices, np.int64)
        known = given != UNDEF_PRICE
        ticks = np.where(known, given, 0) // self.size
        return np.where(known & (ticks <= _FAR) & (ticks >= -_FAR), ticks, NONE).astype(np.int32)

    def price(self, tick: int) -> int:
        """Give the price (1e-9) of a tick."""
        return tick * self.size + self.offset


def infer(prices: npt.ArrayLike) -> Ticks:
    """Infer the grid on which these prices (1e-9) lie: their greatest common divisor; 0.01 where there are fewer than two.

    A few prices that lie on a much finer grid than all others do not make the axis finer: those are drawn one tick below.

    >>> infer([64_820_000_000, 64_850_000_000, 64_840_000_000])
    Ticks(size=10000000, offset=0, inferred=True)
    """
    known = np.asarray(prices, np.int64)
    known = known[known != UNDEF_PRICE]
    distinct, counts = np.unique(known, return_counts=True)
    if len(distinct) < 2:
        return Ticks(PRICE_SCALE // 100, 0, inferred=True)
    size = _divisor(distinct)
    common = np.sort(distinct[np.argsort(-counts, kind="stable")[: max(2, len(distinct) // 2)]])
    coarse = _divisor(common)
    on_it = counts[distinct % coarse == common[0] % coarse].sum()
    if coarse >= 10 * size and on_it >= 0.999 * len(known):
        size, distinct = coarse, common
    return Ticks(size, int(distinct[0]) % size, inferred=True)


def _divisor(ascending: npt.NDArray[np.int64]) -> int:
    """Give the greatest common divisor of all distances; in uint64, for a distance may be larger than any price."""
    steps = ascending[1:].astype(np.uint64) - ascending[:-1].astype(np.uint64)
    return min(int(np.gcd.reduce(steps)), 2**62)
