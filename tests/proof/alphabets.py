"""The alphabets of the exhaustive tests: small sets of messages that meet in every way the book's rules speak of."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from mbo.book._state_kernels import home
from mbo.records import RecordArray
from mbo.units import UNDEF_SIZE
from tests.book.tapes import LAST, MAYBE_BAD, MBP, SNAPSHOT, TOB, tape

CAPACITY = 8  # orders and levels that the arrays have room for, where no alphabet needs more: nothing grows here


def _alike(position: int, count: int) -> list[int]:
    """The first ids whose search begins at one position of book 0's table, so that they push each other on."""
    ids = range(1, 10_000)
    return [n for n in ids if home(np.uint64(n), 0, 2 * CAPACITY - 1) == position][:count]


@functools.cache
def meeting_ids() -> tuple[int, int, int]:
    """Two ids that meet at the last place of the table, so that one of them wraps around, and one whose own place that then is."""
    one, two = _alike(2 * CAPACITY - 1, 2)
    return one, two, _alike(0, 1)[0]


@dataclass(frozen=True)
class Alphabet:
    """Messages of one or more instruments; `opening` is applied before, and leaves the books that a walk starts from."""

    name: str
    records: RecordArray
    opening: RecordArray = field(default_factory=tape)
    capacity: int = CAPACITY

    @property
    def keys(self) -> list[int]:
        """The instruments' keys, as in the engine's `books`."""
        records = np.concatenate([self.opening, self.records])
        keys = records["publisher_id"].astype(np.int64) << 32 | records["instrument_id"].astype(np.int64)
        return list(dict.fromkeys(keys.tolist()))

    @property
    def target(self) -> list[int]:
        """Which of `keys` each letter is of."""
        keys = self.records["publisher_id"].astype(np.int64) << 32 | self.records["instrument_id"].astype(np.int64)
        return [self.keys.index(key) for key in keys.tolist()]

    def at_steps(self, steps: int) -> RecordArray:
        """(steps, letters), later steps at later times; read-only, as the engine takes records."""
        records = np.repeat(self.records[None], steps, axis=0)
        for step in range(steps):
            records["ts_event"][step], records["ts_recv"][step] = 5000 + step, 6000 + 2 * step
            records["sequence"][step], records["channel_id"][step] = 700 + 3 * step, 20 + step
        records.flags.writeable = False
        return records


def two_sides() -> Alphabet:
    """Two orders on both sides of two prices."""
    return orders(meeting_ids()[:2])


def one_queue() -> Alphabet:
    """Three orders on one side of two prices."""
    return orders(meeting_ids(), "B")


def three_orders() -> Alphabet:
    """Three orders on both sides of two prices."""
    return orders(meeting_ids())


def orders(ids: Sequence[int], sides: str = "BA", *, prices: tuple[int, ...] = (100, 101), venue: int = 1) -> Alphabet:
    """Every A, C and M of these ids, two prices and two sizes; R, T, F and N with and without F_LAST."""
    lines = [
        f"{action} {order_id} {side} {price} {size}"
        for action, order_id, side, price, size in product("ACM", ids, sides, prices, (1, 2))
    ]
    for flags in (LAST, 0):
        lines += [f"R 0 N - 0 {flags}", f"N 0 N - 0 {flags}"]
        lines += [f"{action} {ids[0]} {sides[0]} {prices[0]} 1 {flags}" for action in "TF"]
    records = tape(*lines, publisher_id=venue)
    return Alphabet(f"{len(ids)} orders, {len(sides)} side{'s' * (len(sides) > 1)}, {len(lines)} messages", records)


def flags() -> Alphabet:
    """Snapshots, F_TOB and F_MBP levels, gaps, and whatever breaks a rule."""
    one, two, _ = meeting_ids()
    lines = [f"A {one} {side} 100 2 {bits}" for side, bits in product("BA", (0, LAST, SNAPSHOT, SNAPSHOT | LAST))]
    lines += [f"A {two} B 100 2 0", f"A {two} B 100 2 {SNAPSHOT}"]
    lines += [f"A 0 {side} {price} 2 {MBP}" for side, price in product("BA", (100, 101))]
    lines += [f"{action} {one} B 100 1 {bits}" for action, bits in product("CM", (0, SNAPSHOT))]
    lines += [
        f"A 0 B 100 3 {MBP | SNAPSHOT}", f"M 0 B 100 5 {MBP}", f"M 0 B 100 0 {MBP}", f"C 0 B 100 1 {MBP}", f"C 0 A 101 1 {MBP}",
        f"A 0 B 100 2 {TOB}", f"A 0 A 100 2 {TOB | LAST}", f"A 0 B - 0 {TOB}", f"A 0 B 101 4 {TOB | SNAPSHOT}",
        f"M 0 B 100 2 {TOB}", f"A 0 N 100 2 {TOB}",
        f"C {two} B 100 2", f"C {one} A 101 3", f"C {one} B 100 0",
        f"M {one} A 100 2", f"M {two} B 101 3 0", f"M {one} B 100 0", f"M {two} B 100 {UNDEF_SIZE}", f"M {one} B - 1",
        f"M {one} N 100 1",
        f"A {one} B - 1", f"A {one} N 100 1", f"A {two} A 100 0", f"A {one} B 100 {UNDEF_SIZE} {SNAPSHOT}",
        "R 0 N - 0 0", "R 0 N - 0", f"R 0 N - 0 {SNAPSHOT}", f"R 0 N - 0 {SNAPSHOT | LAST}",
        "N 0 N - 0", f"N 0 N - 0 {MAYBE_BAD}", f"T 0 N 100 1 {SNAPSHOT}", f"A {two} B 100 1 {MAYBE_BAD | LAST}",
        f"X {one} B 100 1",
    ]  # fmt: skip
    return Alphabet(f"flags and broken rules, {len(lines)} messages", tape(*lines))


def instruments() -> Alphabet:
    """Two books that share the arrays, with the same order ids."""
    one, two, _ = meeting_ids()
    lines = [
        f"{action} {n} B {price} 2" for action, n, price in product("ACM", (one, two), (100, 101))
    ] + [f"C {one} B 100 1", f"A {one} A 100 1", f"A {two} B 100 3 {SNAPSHOT}", "R 0 N - 0", f"X {one} N - 0"]  # fmt: skip
    both = [tape(*lines), tape(*lines, publisher_id=2, instrument_id=8)]
    return Alphabet(f"two instruments, {2 * len(lines)} messages", np.concatenate(both))


def levels() -> Alphabet:
    """Orders and F_TOB and F_MBP levels in one queue, and snapshots: of one side, so that they lead to finitely many states."""
    one, two, _ = meeting_ids()
    lines = [f"{action} {one} B 100 2 {bits}" for action, bits in product("ACM", (0, LAST, SNAPSHOT))]
    lines += [f"R 0 N - 0 {bits}" for bits in (0, LAST, SNAPSHOT, SNAPSHOT | LAST)]
    lines += [f"{action} 0 B 100 2 {bits}" for action, bits in product("ACM", (MBP, MBP | SNAPSHOT, TOB))]
    lines += [
        f"A {two} B 100 2", f"C {two} B 100 2", f"A 0 B 101 2 {MBP}", f"C 0 B 101 2 {MBP}", f"A 0 B 101 2 {TOB}",
        f"A 0 B - 0 {TOB}", f"N 0 N - 0 {MAYBE_BAD}", "N 0 N - 0",
    ]  # fmt: skip
    return Alphabet(f"orders and levels in one queue, {len(lines)} messages", tape(*lines))


def twins() -> Alphabet:
    """Two books that share the arrays, of one order each with the same id."""
    one = meeting_ids()[0]
    lines = [
        f"A {one} B 100 2",
        f"A {one} A 100 2",
        f"C {one} B 100 1",
        f"C {one} B 100 2",
        f"M {one} B 101 2",
        "R 0 N - 0",
    ]
    both = [tape(*lines), tape(*lines, publisher_id=2, instrument_id=8)]
    return Alphabet(f"two instruments of one order each, {2 * len(lines)} messages", np.concatenate(both))


def far() -> Alphabet:
    """Two orders at the best or far behind, where a search bisects, of 16 levels a side: a new one needs a larger block."""
    inside = orders([1, 2], prices=(86, 114))
    deep = [
        f"A {1000 + sign * k} {side} {100 + sign * k} 3"
        for side, sign in (("B", -1), ("A", 1))
        for k in range(1, 18)
        if k != 14
    ]
    return Alphabet(f"{inside.name}, among 16 levels a side", inside.records, tape(*deep), capacity=64)
