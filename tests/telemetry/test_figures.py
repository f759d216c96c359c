"""Figures are those of the feed, whole after a journey to another process, and never look better than it is."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

import mbo
from mbo.book import Books
from mbo.book.interface import ANOMALIES
from mbo.live.latency import Latency
from mbo.live.status import FeedStatus
from mbo.records import MBO_DTYPE
from mbo.telemetry import BatchMeter, BookFigures, figures
from mbo.telemetry.figures import EDGES_NS, book_figures, latency_counts
from mbo.units import UNDEF_TIMESTAMP

STATUS = FeedStatus(10, 1, 1, True, False, False, 0, None, 0, ())


class StillFeed:
    """A feed whose figures are set by hand."""

    def __init__(self) -> None:
        self.latency, self.status, self.asked, self.busy = Latency(), STATUS, 0, False

    def ask(self, question, timeout_s):
        self.asked += 1
        if self.busy:
            raise TimeoutError
        return BookFigures(books=self.asked)


@pytest.fixture
def clock(monkeypatch):
    class Time:
        now = 1_000.0
        time_ns = staticmethod(lambda: 77)

        @classmethod
        def monotonic(cls):
            return cls.now

    monkeypatch.setattr(figures, "time", Time)
    return Time


@pytest.fixture
def replayed():
    taps, meter = [], BatchMeter()

    def tap(records):
        meter(records)
        taps.append((len(records), int(records["ts_recv"].max())))

    with (
        mbo.serve_gateway(mbo.read_dbn(mbo.SIMULATED)) as gateway,
        mbo.connect(gateway.url, ts_out=True, tap=tap) as feed,
    ):
        yield feed.wait(60), meter, taps


def test_the_figures_of_a_feed_are_what_it_did(replayed):
    feed, meter, taps = replayed
    found = meter.figures(feed)
    books = feed.ask(lambda books: books)
    assert found.status == feed.status
    assert (found.batches, found.books.ts_recv) == (len(taps), max(latest for _, latest in taps))
    assert sum(count for count, _ in taps) == found.status.applied == found.latency[-1]
    assert found.latency_sum_s == pytest.approx(feed.latency.mean * feed.latency.count / 1e9)
    assert found.lag_s is not None
    assert feed.latency.max / 1e9 <= found.lag_s <= feed.latency.max / 1e9 * (1 + 1 / 32)
    assert found.books == book_figures(books)
    assert found.books.books == len(books) > 1
    assert found.books.orders == sum(len(book.orders()) for book in books.values())
    assert found.books.events == sum(book.status.events for book in books.values())
    for rule, count in found.books.anomalies.items():
        assert count == sum(book.anomalies[rule].count for book in books.values() if rule in book.anomalies)
    assert sum(found.books.anomalies.values()) > 0
    assert pickle.loads(pickle.dumps(found)) == found


def test_books_without_a_record_have_every_rule_at_nothing():
    assert book_figures(Books()) == BookFigures(0, 0, 0, 0, dict.fromkeys(ANOMALIES, 0))


# ------------------------------------------------------------ latency


@pytest.mark.parametrize("seed", range(3))
def test_a_bucket_counts_no_latency_that_is_above_its_edge(seed):
    rng = np.random.default_rng(seed)
    values = (10 ** rng.uniform(0, 11, 20_000)).astype(np.int64)
    latency = Latency()
    latency.note(2**62, 2**62 - values)
    counts, sum_s = latency_counts(latency)
    for edge, count in zip(EDGES_NS, counts, strict=False):
        assert np.count_nonzero(values <= edge * 63 // 64) <= count <= np.count_nonzero(values <= edge)
    assert counts[-1] == len(values)
    assert sum_s == pytest.approx(values.sum() / 1e9)


def test_a_latency_at_an_edge_or_beyond_them_all_is_in_the_next_bucket_or_the_last():
    latency = Latency()
    latency.note(10**12, np.array([10**12 - 4_900, 10**12 - 5_100, 0]))  # 4.9 µs, 5.1 µs, 1,000 s
    counts, _ = latency_counts(latency)
    assert counts == (1, *[2] * (len(EDGES_NS) - 1), 3)


def test_no_latency_is_no_count():
    assert latency_counts(Latency()) == ((0,) * (len(EDGES_NS) + 1), 0.0)


def test_the_edges_go_from_5_us_to_10_s():
    assert (EDGES_NS[0], EDGES_NS[-1]) == (5_000, 10_000_000_000)
    assert list(EDGES_NS) == sorted(set(EDGES_NS))
    assert max(after / edge for edge, after in pairwise(EDGES_NS)) == 2.5


# ------------------------------------------------------------ looks


def test_lag_is_the_greatest_latency_since_the_last_look(clock):
    feed, meter = StillFeed(), BatchMeter()
    assert meter.figures(feed).lag_s is None
    found = []
    for values in ([50_000, 10_000_000], [20_000], [], [2_000_000_000]):
        feed.latency.note(10**12, 10**12 - np.array(values, np.int64))
        clock.now += 1.0
        found.append(meter.figures(feed).lag_s)
    assert found == [pytest.approx(value, rel=1 / 32) for value in (0.01, 0.00002, 0.0, 2.0)]


def test_what_is_asked_for_within_a_second_is_not_looked_up_again(clock):
    feed, meter = StillFeed(), BatchMeter()
    assert [meter.figures(feed).books.books for _ in range(3)] == [1, 1, 1]
    clock.now += 0.9
    assert meter.figures(feed).books.books == 1
    clock.now += 0.1
    assert meter.figures(feed).books.books == 2
    assert feed.asked == 2


def test_a_feed_that_does_not_answer_is_shown_as_it_was(clock):
    feed, meter = StillFeed(), BatchMeter()
    meter.figures(feed)
    feed.busy = True
    feed.status = STATUS._replace(applied=99)
    clock.now += 5
    found = meter.figures(feed)
    assert (found.status.applied, found.books.books, feed.asked) == (99, 1, 2)


def test_a_record_without_a_time_is_not_the_latest():
    books = Books()
    batch = np.zeros(2, MBO_DTYPE)
    batch["length"], batch["rtype"], batch["action"], batch["side"] = 14, 0xA0, ord("R"), ord("N")
    batch["instrument_id"], batch["ts_recv"], batch["flags"] = [1, 2], [UNDEF_TIMESTAMP, 5], 128
    books.apply(batch)
    assert (book_figures(books).books, book_figures(books).ts_recv, book_figures(books).synced) == (2, 5, 2)


class CountedSpans:
    active, pause_ns = True, 100

    def __init__(self) -> None:
        self.noted = []

    def note(self, name, begin_ns, end_ns, **attributes):
        self.noted.append((begin_ns, end_ns, attributes["records"]))


def test_a_meter_spreads_its_spans_and_stands_a_clock_that_is_set_back(clock):
    spans, batches = CountedSpans(), []
    meter = BatchMeter(spans)
    for now in (1_000, 1_050, 1_099, 1_100, 1_150, 500, 550, 600):
        clock.time_ns = staticmethod(lambda now=now: now)
        meter(np.zeros(len(batches) + 1, MBO_DTYPE))
        batches.append(now)
    assert (meter.batches, meter.applied_ns) == (8, 600)
    assert spans.noted == [(1_000, 1_000, 1), (1_099, 1_100, 4), (500, 500, 6), (550, 600, 8)]


def test_a_meter_asks_no_spans_that_are_not_made():
    spans = CountedSpans()
    spans.active = False
    BatchMeter(spans)(np.zeros(1, MBO_DTYPE))
    assert spans.noted == []
