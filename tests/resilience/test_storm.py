"""Everything at once: random faults on connection after connection, on sessions with every feature a market has."""

from __future__ import annotations

import random

import pytest

import mbo
from mbo.live import feed as feed_module
from mbo.live import link, stream
from mbo.live.feed import Feed
from mbo.live.gateway import Gateway
from mbo.simulator import Feature, simulate
from tests.conftest import real
from tests.resilience.harness import LIMIT_S, digests, disturbed, rebuilt, until, write_file
from tests.resilience.proxy import Fault, Proxy

pytestmark = pytest.mark.resilience


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_GRACE_S", -4.7)
    monkeypatch.setattr(link, "HANDSHAKE_S", 0.3)


def storm(chance: random.Random, count: int) -> list[Fault]:
    """Faults of connections that get not much further than what they repeat; the first one passes the header. None makes a gap."""
    faults = [Fault(cut=chance.randint(2_000, 50_000), reset=chance.random() < 0.5)]
    for _ in range(count):
        place = chance.choice(
            [chance.randint(0, 2_000), chance.randint(50_000, 80_000), chance.randint(56_000, 58_000)]
        )
        kind = chance.randrange(8)
        pieces = {"piece": chance.choice([None, 997, 611, 4_096]), "jitter_s": chance.choice([0, 0, 0.0003])}
        if kind == 0:
            faults.append(Fault(refuse=True))
        elif kind == 1 and chance.random() < 0.3:
            faults.append(Fault(mute=True))
        elif kind == 2 and chance.random() < 0.3:
            faults.append(Fault(stall=(place, 60)))
        elif kind == 3:
            faults.append(Fault(stall=(place, 0.02), cut=place + chance.randint(0, 9_999), **pieces))
        elif kind == 4:
            faults.append(Fault(garbage=(0, chance.randbytes(100)), absolute=True))
        elif kind == 5:
            faults.append(Fault(cut=chance.randint(0, 80), absolute=True, reset=chance.random() < 0.5))
        else:
            faults.append(Fault(cut=place, reset=chance.random() < 0.5, **pieces))
    return faults


@pytest.mark.parametrize("seed", range(12))
def test_storm(tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    if seed % 3 == 0:  # less is kept than comes again
        monkeypatch.setattr(stream, "BUFFER_BYTES", 1 << 17)
        monkeypatch.setattr(stream, "_LEAST_ROOM", 1 << 14)
    records = simulate(20_000, seed=seed, instruments=5, resting=40, features=Feature.ALL).records
    path = write_file(tmp_path / "storm.dbn", records)
    options = {"ts_out": seed % 2 == 1, "compression": "zstd" if seed % 4 == 2 else "none"}
    if seed % 4 == 3:
        options["symbols"] = ["S1002", "S1004"]
        records = records[(records["instrument_id"] == 1002) | (records["instrument_id"] == 1004)]
    with disturbed(path, *storm(chance, 40), heartbeat_s=5, **options) as run:
        run.check(records)
        assert run.feed.status.connections > 10


@pytest.mark.parametrize("seed", range(3))
def test_storm_over_a_paced_gateway_and_three_clients(tmp_path, seed):
    records = simulate(40_000, seed=50 + seed, instruments=4, resting=40, features=Feature.ALL).records
    path = write_file(tmp_path / "storm.dbn", records)
    parts: list[bytes] = []
    with Gateway(mbo.read_dbn(path), rate=40_000) as gateway:
        faults = storm(random.Random(seed), 25)
        with (
            Proxy(gateway.url, *faults) as proxy,
            Feed(gateway.url) as calm,
            Feed(proxy.url, heartbeat_s=5, start=0, tap=lambda batch: parts.append(batch.tobytes())) as tossed,
        ):
            until(lambda: gateway.sessions, "a client")
            for _ in range(3):
                gateway.drop()
            status = tossed.wait(LIMIT_S).status
            assert b"".join(parts) == records.tobytes()
            assert (status.applied, status.gaps) == (len(records), 0)
            assert calm.wait(LIMIT_S).status.gaps == 0
            assert digests(calm.books()) == digests(tossed.books()) == rebuilt(records)


@pytest.mark.data
def test_storm_over_a_real_file(tmp_path):
    path = real("CLX5_mbo.dbn")
    records = mbo.read_dbn(path).load()
    with disturbed(path, *storm(random.Random(1), 20), heartbeat_s=5) as run:
        run.check(records)
