"""The histogram of latencies against the latencies themselves, sorted."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbo.errors import RequestError
from mbo.live import _latency_kernels as kernels
from mbo.live.latency import Latency
from mbo.records import MBO_DTYPE
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP

pytestmark = pytest.mark.nojit

NOW = 1_758_742_200_001_385_399
LARGEST = 2**63 - 1

# Any size, not only any number: the bins are by powers of two.
LATENCIES = st.lists(st.integers(0, 63).flatmap(lambda bits: st.integers(0, 2**bits - 1)), min_size=1, max_size=60)


def of(latencies: list[int]) -> Latency:
    latency = Latency()
    latency.note(LARGEST, LARGEST - np.array(latencies, np.int64))
    return latency


def same(one: Latency, other: Latency) -> bool:
    return all(np.array_equal(mine, its) for mine, its in zip(one._state, other._state, strict=True))


# ---------------------------------------------------------------- percentiles


@given(LATENCIES, st.one_of(st.sampled_from([0, 1, 50, 90, 99, 99.9, 99.99, 100]), st.floats(0, 100)))
@example([*range(1, 1001)], 99.9)
@example([*range(1, 101)], 7)
def test_a_percentile_is_that_of_nearest_rank_and_at_most_a_64th_too_high(latencies, q):
    found = of(latencies).percentile(q)
    rank = max(1, math.ceil(Fraction(str(q)) * len(latencies) / 100))
    exact = sorted(latencies)[rank - 1]
    assert exact <= found <= exact + exact // 64
    assert found <= max(latencies)


@given(LATENCIES)
def test_percentiles_agree_with_numpy_s(latencies):
    latency = of(latencies)
    for q in (0, 25, 50, 75, 100):  # a quarter is a double: numpy's rank is exact
        exact = int(np.percentile(np.array(latencies), q, method="inverted_cdf"))
        assert exact <= latency.percentile(q) <= exact + exact // 64


@pytest.mark.parametrize("scale", [1e2, 1e5, 1e9])
def test_percentiles_of_many_agree_with_numpy_s(scale):
    values = np.random.default_rng(3).lognormal(np.log(scale), 2, 20_000).astype(np.int64)
    latency = Latency()
    for part in np.array_split(values, 7):
        latency.note(NOW, NOW - part)
    for q in (1, 10, 50, 90, 99, 99.9):
        lower, higher = (np.percentile(values, q, method=method) for method in ("lower", "higher"))
        assert lower <= latency.percentile(q) <= higher * (1 + 1 / 64)
    assert (latency.count, latency.min, latency.max) == (len(values), values.min(), values.max())


def test_small_latencies_have_a_bin_each():
    latency = of([*range(128)])
    assert [latency.percentile(Fraction(100 * (n + 1), 128)) for n in range(128)] == [*range(128)]


def test_every_power_of_two_has_its_bins_up_to_the_largest():
    edges = sorted({number for power in range(63) for number in (2**power - 1, 2**power, 2**power + 1)} | {LARGEST})
    assert [of([edge]).percentile(50) for edge in edges] == edges  # never above the greatest
    latency = of(edges)
    assert int(latency._state.bins.sum()) == len(edges)
    assert int(latency._state.bins[-1]) == 1
    assert len(latency._state.bins) == kernels.BINS


# ---------------------------------------------------------------- exact figures


@given(LATENCIES)
def test_count_least_greatest_and_mean_are_exact(latencies):
    latency = of(latencies)
    assert (latency.count, latency.min, latency.max) == (len(latencies), min(latencies), max(latencies))
    assert latency.mean == sum(latencies) / len(latencies)
    assert latency.negative == 0


def test_the_sum_is_larger_than_a_word():
    latency = of([LARGEST] * 1_000)
    assert latency.mean == LARGEST * 1_000 / 1_000


def test_a_latency_below_zero_is_zero_and_counted():
    latency = Latency()
    latency.note(100, np.array([90, 100, 101, 10**18], np.uint64))
    assert (latency.count, latency.negative, latency.min, latency.max) == (4, 2, 0, 10)
    assert latency.percentile(75) == 0
    latency.note_paced(1_000, 0, 3, begin=0, per_s=1e6)
    assert (latency.count, latency.negative) == (7, 3)
    latency.note_paced(1_000, 0, 2, begin=LARGEST, per_s=1e6)
    assert (latency.count, latency.negative) == (9, 5)


def test_a_missing_time_is_later_than_any():
    latency = Latency()
    latency.note(LARGEST, np.array([UNDEF_TIMESTAMP, 2**63, 2**63 - 1, 0], np.uint64))
    latency.note(LARGEST, np.array([-1, -(2**63)]))
    assert (latency.count, latency.negative, latency.min, latency.max) == (6, 4, 0, LARGEST)


# ---------------------------------------------------------------- what may be handed in


def test_times_may_be_of_any_layout():
    records = np.zeros(50, MBO_DTYPE)
    records["ts_recv"] = NOW - np.arange(50)
    frozen = records["ts_recv"].copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + frozen.tobytes(), np.uint8)[1:].view(np.uint64)
    expected = of([*range(50)])
    for times in (records["ts_recv"], frozen, frozen.astype(np.int64), frozen[::-1], unaligned, frozen.reshape(5, 10)):
        latency = Latency()
        latency.note(NOW, times)
        assert same(latency, expected)
    assert not frozen.flags.writeable
    latency = Latency()
    latency.note(np.uint64(NOW), frozen)
    assert same(latency, expected)


def test_one_compiled_kernel_serves_every_layout():
    if not hasattr(kernels.note, "signatures"):
        pytest.skip("the kernels are not compiled")
    test_times_may_be_of_any_layout()
    Latency().note_paced(NOW, 0, 2, begin=NOW, per_s=np.float32(3))
    Latency().note_paced(np.int64(NOW), np.uint64(1), np.int32(2), begin=NOW, per_s=500_000)
    assert len(kernels.note.signatures) == len(kernels.note_paced.signatures) == 1


@pytest.mark.parametrize("times", [np.array([1.5]), np.array([1], np.int32), np.array([1], ">i8")])
def test_times_of_another_type_are_refused(times):
    with pytest.raises(RequestError, match="they are int64 or uint64"):
        Latency().note(NOW, times)


def test_numbers_that_make_no_sense_are_refused():
    latency, none = Latency(), np.empty(0, np.int64)
    for now in (-1, 2**63):
        with pytest.raises(RequestError, match=f"now={now} is not from 0"):
            latency.note(now, none)
    with pytest.raises(RequestError, match=r"now=1\.5: nanoseconds and numbers are whole"):
        latency.note(1.5, none)
    for wrong in ({"first": -1}, {"count": -1}, {"begin": -1}, {"now": -1}, {"first": LARGEST}):
        with pytest.raises(RequestError, match="is not from 0"):
            latency.note_paced(**{"now": 0, "first": 0, "count": 1, "begin": 0, "per_s": 1.0} | wrong)
    for per_s in (0, -1.0, math.nan, math.inf, 1e-300, 1e-10):
        with pytest.raises(RequestError, match=r"per_s=.* record 1 of so many a second is never due"):
            latency.note_paced(0, 0, 1, begin=0, per_s=per_s)
    for q in (-1, 100.1, math.nan):
        with pytest.raises(RequestError, match="a percentile is from 0 to 100"):
            of([1]).percentile(q)
    assert latency.count == 0


# ---------------------------------------------------------------- paced streams


@given(
    first=st.integers(0, 10**11),
    per_s=st.one_of(st.sampled_from([500_000, 5_000_000.0, 333_333, 1e6 / 3]), st.floats(50_000, 5e7)),
    late=st.integers(0, 10**9),
)
@example(first=10**11, per_s=333_333, late=0)
def test_a_paced_record_was_due_where_exact_arithmetic_says(first, per_s, late):
    due = first * NS_PER_S / Fraction(per_s)
    latency = Latency()
    latency.note_paced(NOW + math.ceil(due) + late, first, 1, begin=NOW, per_s=per_s)
    assert abs(latency.max - (math.ceil(due) + late - due)) <= 2


def test_a_paced_stream_does_not_drift():
    """The millionth second at 99,991 records a second, in batches of 1,000: as late as the first."""
    per_s, start = 99_991.0, 99_991 * 1_000_000
    latency = Latency()
    for first in range(start, start + 5_000, 1_000):
        now = NOW + math.ceil(Fraction((first + 999) * NS_PER_S) / Fraction(per_s)) + 50
        latency.note_paced(now, first, 1_000, begin=NOW, per_s=per_s)
    period = NS_PER_S / per_s
    assert latency.count == 5_000
    assert abs(latency.min - 50) <= 2
    assert abs(latency.max - (50 + 999 * period)) <= 3
    assert latency.mean == pytest.approx(50 + 999 * period / 2, abs=3)


@given(st.integers(0, 10**9), st.integers(0, 200), st.integers(0, 200))
def test_a_paced_stream_may_be_entered_in_parts(first, some, more):
    whole, parts = Latency(), Latency()
    now = NOW + (first + some + more) * 1_000
    whole.note_paced(now, first, some + more, begin=NOW, per_s=1e6)
    parts.note_paced(now, first, some, begin=NOW, per_s=1e6)
    parts.note_paced(now, first + some, more, begin=NOW, per_s=1e6)
    assert same(whole, parts)
    listed = Latency()
    listed.note(now, NOW + (first + np.arange(some + more)) * 1_000)
    assert same(whole, listed)


# ---------------------------------------------------------------- together, and as text


@given(LATENCIES, LATENCIES)
def test_merged_is_as_if_entered_together(some, more):
    merged = of(some)
    merged.note(0, np.array([1]))
    other = of(more)
    merged.merge(other)
    expected = of(some + more)
    expected.note(0, np.array([1]))
    assert same(merged, expected)
    assert same(other, of(more))
    empty = Latency()
    empty.merge(expected)
    expected.merge(Latency())
    assert same(empty, expected)


def test_a_copy_is_apart():
    latency = of([1, 2, 3])
    for other in (copy.deepcopy(latency), pickle.loads(pickle.dumps(latency))):
        assert same(latency, other)
        other.note(1, np.array([0]))
        assert (latency.count, other.count) == (3, 4)


def test_nothing_has_no_percentile():
    latency = Latency()
    latency.note(NOW, np.empty(0, np.uint64))
    latency.note_paced(NOW, 0, 0, begin=NOW, per_s=1.0)
    assert same(latency, Latency())
    for ask in (lambda: latency.percentile(50), lambda: latency.min, lambda: latency.max, lambda: latency.mean):
        with pytest.raises(RequestError, match="no latencies were entered"):
            ask()
    assert latency.document() == {"p50": None, "p99": None, "p99.9": None, "max": None, "count": 0}
    assert (str(latency), repr(latency)) == ("no records", "<Latency no records>")


@pytest.mark.parametrize(
    ("count", "known"),
    [(1, {"p50"}), (999, {"p50"}), (1_000, {"p50", "p99"}), (100_000, {"p50", "p99", "p99.9"})],
)
def test_a_percentile_that_too_few_records_cannot_tell_is_left_out(count, known):
    latency = of([])
    one = of([100])
    one._state.bins[100] = one._state.totals["count"] = count  # as if it had been entered so often
    latency.merge(one)
    document = latency.document()
    assert document == {
        "p50": None,
        "p99": None,
        "p99.9": None,
        **dict.fromkeys(known, 100),
        "max": 100,
        "count": count,
    }
    assert [name for name in ("p50 ", "p99 ", "p99.9 ") if name in str(latency)] == sorted(f"{name} " for name in known)


def test_text_is_in_milliseconds_of_two_digits():
    assert str(of([850])) == "p50 0.00085 ms, max 0.00085 ms (1 record)"
    assert str(of([0])) == "p50 0 ms, max 0 ms (1 record)"
    assert str(of([127_000, 127_500, 3_041_000, 1_234_567_890])) == "p50 0.13 ms, max 1,235 ms (4 records)"
    assert repr(of([12_000_000])) == "<Latency p50 12 ms, max 12 ms (1 record)>"
    many = of([100_000] * 990 + [790_000] * 10)
    assert str(many) == "p50 0.10 ms, p99 0.10 ms, max 0.79 ms (1,000 records)"
