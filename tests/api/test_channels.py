"""A channel: every message follows on the last, frames are made once, and what was missed is known for a while."""

from __future__ import annotations

import numpy as np
import pytest

from mbo.api import channels, frames
from mbo.api.channels import Channel
from mbo.api.following import FollowedBook
from mbo.api.source import Want, view_of
from mbo.book.rows import LEVEL_DTYPE
from mbo.errors import ProtocolError
from tests.api.scripted import add, quoted


def payload(frame: bytes) -> bytes:
    return frame[2:] if frame[1] < 126 else frame[4:]


def split(data: bytes) -> list[bytes]:
    found = []
    while data:
        length, begin = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4]), 4)
        found.append(data[begin : begin + length])
        data = data[begin + length :]
    return found


def moving(history: int = 4, moves: int = 6) -> tuple[Channel, list[bytes]]:
    """A channel after a snapshot and so many moves with sequence numbers from 10 on, and the levels after each."""
    source, channel, states = quoted(), Channel("AAA", 3, history), []
    for number in range(moves + 1):
        if number:
            source.apply(add(300 + number, "B", 100 + number % 3 - 3, 1, at=number))
        view = view_of(source.books.book("AAA"), Want(5))
        assert channel.publish(view, 10 + number, stale=False)
        states.append(view.bids[:3].tobytes() + view.asks[:3].tobytes())
    return channel, states


def state(book: FollowedBook) -> bytes:
    return book.levels("bid").array.tobytes() + book.levels("ask").array.tobytes()


def test_a_client_that_sees_all_has_every_state():
    source, channel, book = quoted(), Channel("AAA", 3, 4), FollowedBook("AAA")
    for number in range(20):
        source.apply(
            add(300 + number, "BA"[number % 2], 100 + number % 4 - (number % 2 == 0) * 3, 1 + number, at=number)
        )
        view = view_of(source.books.book("AAA"), Want(3))
        channel.publish(view, 10 + number, stale=False)
        book.apply(frames.read(payload(channel.after(book.seq, "binary"))))
        assert state(book) == view.bids.tobytes() + view.asks.tobytes()
    assert (book.snapshots, book.updates) == (1, 19)


def test_one_that_missed_a_message_gets_a_snapshot():
    channel, states = moving()
    book = FollowedBook("AAA")
    book.apply(frames.read(payload(channel.after(14, "binary"))))
    assert book.snapshots == 1
    assert state(book) == states[-1]


def test_nothing_is_published_where_nothing_happened():
    source, channel = quoted(), Channel("AAA", 3, 4)
    view = view_of(source.books.book("AAA"), Want(3))
    assert channel.publish(view, 10, stale=False)
    assert not channel.publish(view_of(source.books.book("AAA"), Want(3)), 11, stale=False)
    assert channel.seq == 10
    assert channel.publish(view, 12, stale=True)
    assert frames.read(payload(channel.after(10, "binary"))).stale


def test_a_frame_is_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(channels, "encode", lambda message, form: made.append(form) or frames.encode(message, form))
    channel, _ = moving()
    for _ in range(100):
        assert channel.after(0, "json") is channel.after(0, "json")
        assert channel.after(15, "binary") is channel.after(15, "binary")
    assert made == ["json", "binary"]


@pytest.mark.parametrize("since", range(12, 17))
def test_what_was_missed_is_known_for_a_while(since):
    channel, states = moving(history=4)
    book = FollowedBook("AAA")
    missed = channel.missed(since, "json")
    assert missed is not None
    bids, asks = (np.frombuffer(part, LEVEL_DTYPE) for part in (states[since - 10][:60], states[since - 10][60:]))
    book._bids, book._asks, book.seq = bids, asks, since
    for one in split(missed):
        book.apply(frames.read(one.decode()))
    assert state(book) == states[-1]
    assert book.snapshots == 0
    assert book.updates == 16 - since


@pytest.mark.parametrize("since", [0, 9, 10, 11])
def test_what_is_too_old_is_not_known(since):
    channel, _ = moving(history=4)
    assert channel.missed(since, "json") is None


def test_a_client_refuses_a_message_that_does_not_follow():
    source, channel, book = quoted(), Channel("AAA", 3, 4), FollowedBook("AAA")
    for number in range(3):
        source.apply(add(300 + number, "B", 100, 1, at=number))
        channel.publish(view_of(source.books.book("AAA"), Want(3)), 10 + number, stale=False)
        if number == 0:
            book.apply(frames.read(payload(channel.after(0, "binary"))))
    with pytest.raises(ProtocolError, match="follows on 11, and 10 was the last"):
        book.apply(frames.read(payload(channel.after(11, "binary"))))
    assert book.seq == 10


def test_a_client_refuses_a_message_that_leads_elsewhere():
    channel, _ = moving()
    message = frames.read(payload(channel.after(0, "binary")))
    bids = message.bids.copy()
    bids["size"][0] += 1
    with pytest.raises(ProtocolError, match="other levels"):
        FollowedBook("AAA").apply(message._replace(bids=bids))
