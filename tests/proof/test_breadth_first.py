"""Breadth first over canonical states: every message in every state that can be reached, until there are no new ones.

A canonical state is everything in the engine's arrays: table of ids, pools, free lists, levels, blocks, books. Only times and
counters, on which no rule depends, are reset after each message, and what lies in free slots becomes nonsense. 128 bits tell states
apart. Where the search ends, the two books agree on sequences of any length over that alphabet, as long as no array grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from mbo.book import _state_kernels as arrays
from mbo.book.check import check
from tests.proof import walk_kernels
from tests.proof.alphabets import (
    Alphabet,
    flags,
    instruments,
    levels,
    one_queue,
    three_orders,
    twins,
    two_sides,
)
from tests.proof.arena import Arena, spelled
from tests.proof.oracle import Content, Oracle
from tests.proof.walk_kernels import DIFFERENCES, Array

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

_AT_ONCE = 256  # states expanded by one call
_SEEN = 1 << 21


@dataclass
class Search:
    """One alphabet's states, depth by depth; the root is the empty engine."""

    arena: Arena
    oracle: Oracle
    states: arrays.State = field(init=False)  # of the depth reached
    contents: Array = field(init=False)  # (states, instruments), -1 without a book
    sources: list[Array] = field(default_factory=list)  # by depth: (states, 2), which state and letter led to each
    transitions: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        assert set(self.arena.roots) == {Content()}
        instruments = len(self.arena.messages.keys)
        self.states, self.contents = self.arena.states, np.full((1, instruments), -1)
        self.seen = np.zeros((_SEEN, 2), np.uint64)
        room = _AT_ONCE * len(self.arena.messages.target) + 1
        self.found = arrays.State(*(np.repeat(array, room, axis=0) for array in self.arena.states))
        self.found_contents, self.found_from = np.zeros((room, instruments), np.int64), np.zeros((room, 2), np.int64)

    def deepen(self) -> None:
        """Go from the states of one depth to those that are new at the next."""
        parts = [self._expand(first) for first in range(0, len(self.contents), _AT_ONCE)]
        states, contents, sources = zip(*parts, strict=True)
        self.states = arrays.State(*(np.concatenate(array) for array in zip(*states, strict=True)))
        self.contents = np.concatenate(contents)
        self.sources.append(np.concatenate(sources))
        assert sum(map(len, self.sources)) < _SEEN / 2

    def _expand(self, first: int) -> tuple[list[Array], Array, Array]:
        tally = np.zeros(3, np.int64)
        states = arrays.State(*(array[first : first + _AT_ONCE] for array in self.states))
        difference, row, letter = walk_kernels.expand(
            states, self.contents[first : first + _AT_ONCE],
            self.arena.messages, self.oracle.answers, self.arena.counters, self.arena.scratch,
            self.seen, self.found, self.found_contents, self.found_from, tally,
        )  # fmt: skip
        assert difference == 0, (
            f"{DIFFERENCES[difference]}: after {spelled(self.arena.alphabet, self.path(first + row, letter))}"
        )
        new = int(tally[0])
        self.transitions += int(tally[1])
        self.refused += int(tally[2])
        return (
            [array[:new].copy() for array in self.found],
            self.found_contents[:new].copy(),
            self.found_from[:new] + np.array([first, 0]),
        )

    def path(self, row: int, letter: int) -> Array:
        """The letters that lead to a state of the last depth, and one more: a shortest sequence."""
        letters = [letter]
        for source in reversed(self.sources):
            row, letter = source[row]
            letters.append(letter)
        return np.array(letters[::-1])

    def check(self) -> None:
        """Walk every new state's arrays."""
        for row in range(len(self.contents)):
            check(arrays.State(*(array[row] for array in self.states)))


def search(alphabet: Alphabet, *, strict: bool, equal_size: str, depth: int | None) -> Search:
    arena = Arena.of(alphabet, steps=1, rows=1, strict=strict, equal_size=equal_size)
    oracle = Oracle.closed(arena.messages.records, strict=strict, equal_size=equal_size, depth=depth)
    return Search(arena, oracle)


@pytest.mark.parametrize(
    ("make", "depth", "strict", "equal_size"),
    [
        (two_sides, None, False, "venue"),
        (two_sides, None, False, "keeps"),
        (two_sides, None, True, "venue"),
        (one_queue, None, False, "venue"),
        (one_queue, None, True, "keeps"),
        (levels, None, False, "venue"),
        (levels, None, True, "venue"),
        (twins, None, False, "venue"),
        (flags, 5, False, "venue"),
        (flags, 5, True, "venue"),
        (instruments, 5, False, "venue"),
        (three_orders, 4, False, "loses"),
    ],
)
def test_every_message_in_every_state(
    make, depth: int | None, strict: bool, equal_size: str, tell: Callable[[str], None]
):
    alphabet = make()
    found = search(alphabet, strict=strict, equal_size=equal_size, depth=depth)
    while len(found.contents) and len(found.sources) != depth:
        found.deepen()
        found.check()
    counts = [1, *map(len, found.sources)]
    assert counts[1] > 1
    assert depth is not None or counts[-1] == 0
    assert found.transitions == len(alphabet.records) * sum(counts[:-1])
    assert (found.refused > 0) == strict
    tell(
        f"{sum(counts):,} states, {found.transitions:,} transitions, {found.refused:,} refused, "
        f"{'all that there are' if depth is None else f'to depth {depth}'}: {alphabet.name}, "
        f"{'strict' if strict else 'lenient'}, equal_size={equal_size}; "
        f"new states by depth: {' '.join(f'{count:,}' for count in counts)}"
    )


def test_a_difference_is_told_with_a_shortest_sequence():
    found = search(two_sides(), strict=False, equal_size="venue", depth=None)
    ahead = found.oracle.answers.ahead
    behind = [n for n, content in enumerate(found.oracle.contents) if len(content.asks) == 1 and ahead[n].max() > 0]
    ahead[behind] += 1
    found.deepen()
    with pytest.raises(
        AssertionError, match=r"queue_ahead of an order: after \['A \d+ A 100 \d 128', 'A \d+ A 100 \d 128'\]"
    ):
        found.deepen()
