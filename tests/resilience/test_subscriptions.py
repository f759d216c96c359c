"""Duplicate and overlapping subscriptions, by a client that asks for what ours never would."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import numpy as np
import pytest

import mbo
from mbo.live.gateway import Gateway
from mbo.live.handshake import ClientHandshake
from mbo.live.lines import LineReader
from mbo.live.messages import SymbolMessage, SystemCode, SystemMessage
from mbo.live.protocol import ANY_DATASET, StartSession, Subscription, encode_subscription
from mbo.live.stream import Arrival, Message, Stream
from mbo.records import MBO_DTYPE, RecordArray
from mbo.simulator import simulate
from tests.resilience.harness import LIMIT_S, write_file

pytestmark = pytest.mark.resilience


def session(url: str, *subscriptions: Subscription) -> tuple[RecordArray, list[Message]]:
    """Ask for all of these and read to the end."""
    address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
    stream, lines, handshake = Stream(), LineReader(), ClientHandshake("any", ANY_DATASET)
    parts, messages = [b""], []

    def take(data: bytes) -> None:
        for item in stream.feed(data):
            if isinstance(item, Arrival):
                parts.append(item.records.tobytes())
            else:
                messages.append(item)

    with socket.create_connection(address, LIMIT_S) as sock:
        while not handshake.done:
            line = lines.line()
            while line is None:
                line = lines.line(sock.recv(1 << 16))
            sock.sendall(handshake.receive(line) or b"")
        sock.sendall(b"".join(map(encode_subscription, subscriptions)) + StartSession().encode())
        take(lines.rest)
        while data := sock.recv(1 << 16):
            take(data)
    return np.frombuffer(b"".join(parts), MBO_DTYPE), messages


@pytest.fixture(scope="module")
def tape() -> RecordArray:
    return simulate(5_000, seed=12, instruments=3, resting=30).records


A, B, C = (Subscription((f"S{number}",)) for number in (1001, 1002, 1003))
ALL = Subscription(("ALL_SYMBOLS",))
LATE = 1736173801_500_000_000  # one and a half seconds after the simulated session has begun


def later(one: Subscription) -> Subscription:
    return Subscription(one.symbols, start=LATE)


def beginning(one: Subscription) -> Subscription:
    return Subscription(one.symbols, start=0)


@pytest.mark.parametrize("rate", [None, 200_000], ids=["unpaced", "paced"])
@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ((A, A), [1001]),
        ((A, Subscription(("1001",), stype_in="instrument_id")), [1001]),
        ((A, B, Subscription(("S1002", "S1001", "S1002"))), [1001, 1002]),
        ((A, ALL), [1001, 1002, 1003]),
        ((ALL, ALL, C), [1001, 1002, 1003]),
        ((beginning(A), A), [1001]),
        ((beginning(A), later(A)), [1001]),
        ((later(A), beginning(ALL)), [1001, 1002, 1003]),
    ],
    ids=["twice", "by both names", "overlapping", "one and all", "all and all", "start and none", "two starts", "late and all"],
)  # fmt: skip
def test_every_record_comes_once(tape, tmp_path, asked, wanted, rate):
    path = write_file(tmp_path / "tape.dbn", tape)
    with Gateway(mbo.read_dbn(path), rate=rate) as gateway:
        records, messages = session(gateway.url, *asked)
    assert records.tobytes() == tape[np.isin(tape["instrument_id"], wanted)].tobytes()
    answers = [one for one in messages if isinstance(one, SystemMessage) and one.code == SystemCode.SUBSCRIPTION_ACK]
    assert len(answers) == len(asked)
    assert {one.instrument_id for one in messages if isinstance(one, SymbolMessage)} == set(wanted)


def test_different_starts_of_different_instruments(tape, tmp_path):
    path = write_file(tmp_path / "tape.dbn", tape)
    with Gateway(mbo.read_dbn(path)) as gateway:
        records, _ = session(gateway.url, beginning(A), later(B))
    place = int((tape["ts_event"] >= LATE).argmax())
    assert 100 < place < 4_900
    ids = tape["instrument_id"]
    wanted = (ids == 1001) | ((ids == 1002) & (np.arange(len(tape)) >= place))
    assert records.tobytes() == tape[wanted].tobytes()
