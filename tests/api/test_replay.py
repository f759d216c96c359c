"""Replay control: what is asked for with a key is done once, however often it is asked for; and it reaches a real gateway."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import numpy as np
import pytest

import mbo
from mbo.api import replay_routes
from mbo.api.client import Client
from mbo.api.replaying import ReplayProcess
from mbo.api.source import LiveSource
from mbo.errors import LostError, RequestError
from mbo.recorder import Recorder, RecorderStatus
from tests.api.scripted import CONTROL, READ, application, asked, keys, quoted, serving
from tests.api.test_books import problem
from tests.api.test_edge import Stage, bearer
from tests.api.test_recording import KeptStore
from tests.resilience.harness import until

PAUSE = {"action": "pause"}


def post(app, body, **headers):
    return asked(app, lambda client: client.post("/v1/replay", json=body, headers=headers))


def test_a_repeated_request_gets_the_same_answer_and_does_nothing():
    stage, source = Stage(), quoted()
    with application(source, replay=stage) as app:
        first = post(app, PAUSE, **{"Idempotency-Key": "a"})
        again = post(app, PAUSE, **{"Idempotency-Key": "a"})
        assert first.content == again.content
        assert stage.told == ["pause"]
        assert post(app, PAUSE, **{"Idempotency-Key": "b"}).json()["position"] == 2
        assert post(app, PAUSE).status_code == post(app, PAUSE).status_code == 200
    assert stage.told == ["pause"] * 4


def test_a_key_that_was_used_for_another_request_is_refused():
    stage = Stage()
    with application(quoted(), replay=stage) as app:
        post(app, PAUSE, **{"Idempotency-Key": "a"})
        assert "another request" in problem(post(app, {"action": "start"}, **{"Idempotency-Key": "a"}), 422)["detail"]
    assert stage.told == ["pause"]


def test_keys_of_different_callers_are_different():
    stage = Stage()
    with application(quoted(), known=keys(), replay=stage) as app:
        assert post(app, PAUSE, **{"Idempotency-Key": "a", **bearer(CONTROL)}).status_code == 200
        assert problem(post(app, PAUSE, **{"Idempotency-Key": "a", **bearer(READ)}), 403)
    assert stage.told == ["pause"]


def test_requests_at_the_same_time_are_done_once():
    stage, go = Stage(), threading.Event()
    obey = stage.obey
    stage.obey = lambda *values, **options: (go.wait(5), obey(*values, **options))[1]

    async def both(client):
        ask = [
            asyncio.ensure_future(client.post("/v1/replay", json=PAUSE, headers={"Idempotency-Key": "a"}))
            for _ in range(5)
        ]
        await asyncio.sleep(0.1)
        go.set()
        return await asyncio.gather(*ask)

    with application(quoted(), replay=stage) as app:
        answers = asked(app, both)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert stage.told == ["pause"]


def test_what_failed_may_be_tried_again_with_the_same_key():
    stage = Stage()
    obey, stage.obey = stage.obey, lambda *values, **options: (_ for _ in ()).throw(LostError("no answer"))
    with application(quoted(), replay=stage) as app:
        problem(post(app, PAUSE, **{"Idempotency-Key": "a"}), 503)
        stage.obey = obey
        assert post(app, PAUSE, **{"Idempotency-Key": "a"}).status_code == 200


def test_only_so_many_keys_are_remembered(monkeypatch):
    monkeypatch.setattr(replay_routes, "_MOST_REMEMBERED", 3)
    stage = Stage()
    with application(quoted(), replay=stage) as app:
        for key in "abcd":
            post(app, PAUSE, **{"Idempotency-Key": key})
        assert len(app.state.remembered._answers) == 3
        post(app, PAUSE, **{"Idempotency-Key": "d"})
    assert stage.told == ["pause"] * 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"action": "jump"}, "action"),
        ({"action": "seek"}, "where to seek"),
        ({"action": "pause", "to": 5}, "belongs to that"),
        ({"action": "start", "rate": 5}, "belong to the action"),
        ({"action": "speed", "rate": 5, "speed": 5}, "not both"),
        ({"action": "speed", "rate": -1}, "rate"),
        ({"action": "seek", "to": "tomorrow"}, "not a time"),
        ({"action": "seek", "to": -1}, "to"),
        ({"action": "pause", "more": 1}, "more"),
        ([], "body"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(body, words):
    stage = Stage()
    with application(quoted(), replay=stage) as app:
        found = problem(post(app, body), 422)
    assert words in found["detail"] + str(found.get("errors"))
    assert stage.told == []


def test_a_body_that_is_no_json_is_refused():
    with application(quoted(), replay=Stage()) as app:
        answer = asked(
            app, lambda client: client.post("/v1/replay", content=b"{", headers={"content-type": "application/json"})
        )
    problem(answer, 422)


def test_a_real_replay_is_controlled_and_its_books_follow():
    day = mbo.read_dbn(mbo.SIMULATED)
    with (
        ReplayProcess([mbo.SIMULATED], speed=1.0, hold=True) as replay,
        LiveSource(replay.url, "SIM1", snapshot=True) as source,
        serving(source, replay=replay.stage) as server,
        Client(server.url) as api,
    ):
        assert api.replay() == {"position": 0, "records": 90_000, "running": False, "rate": None, "speed": 1.0}
        assert api.replay("start")["running"]
        api.replay("speed")  # as fast as everybody reads
        deadline = time.monotonic() + 20
        while not (source.status and source.status.ended):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert api.book("SIM1", digest=True)["digest"] == day.book("SIM1").digest()
        api.replay("pause")
        api.replay("speed", speed=1.0)
        at = "2025-01-06T14:30:20"
        api.replay("seek", to=at)
        while api.book("SIM1", digest=True)["digest"] != day.book("SIM1", at=at).digest():
            assert time.monotonic() < deadline, "the books did not follow the replay"
            time.sleep(0.02)
        assert api.replay("stop")["position"] == 0
        with pytest.raises(RequestError, match="not in the replay"):
            api.replay("seek", to=100_000)


NOW = RecorderStatus(900, 0, 0, 0.0, 3, 0.1, 0.1, 0, None)


@pytest.mark.parametrize(
    "status", [None, NOW, NOW._replace(trouble="no answer")], ids=["none yet", "now", "in trouble"]
)
@pytest.mark.parametrize("body", [{"action": "seek", "to": 5}, {"action": "stop"}], ids=["seek", "stop"])
def test_a_replay_that_is_recorded_keeps_its_place(body, status):
    stage = Stage()
    with application(quoted(), replay=stage, recorded=lambda: status) as app:
        assert "the recording that goes on" in problem(post(app, body), 409)["detail"]
        assert stage.told == []
        assert post(app, PAUSE).status_code == post(app, {"action": "start"}).status_code == 200
    assert stage.told == ["pause", "start"]


def test_a_replay_whose_recording_has_ended_may_go_elsewhere():
    stage = Stage()
    with application(quoted(), replay=stage, recorded=lambda: NOW._replace(ended=True)) as app:
        assert post(app, {"action": "seek", "to": 5}).status_code == 200
        assert post(app, {"action": "stop"}).status_code == 200
    assert stage.told == ["seek", "stop"]


def test_a_recording_goes_on_whole_whatever_the_replay_is_told():
    """A seek in the middle would put a snapshot into the session; behind the end it does not."""
    kept = KeptStore()
    with (
        ReplayProcess([mbo.SIMULATED], rate=30_000.0, hold=True) as replay,
        LiveSource(replay.url, "SIM1", snapshot=True) as source,
        Recorder(replay.url, kept, session="s", start=0).start() as recorder,
        serving(source, replay=replay.stage, recorded=lambda: recorder.status) as server,
        Client(server.url, tries=1) as api,
    ):
        api.replay("start")
        with pytest.raises(RequestError, match="recording"):
            api.replay("seek", to=5)
        api.replay("speed")
        recorder.wait(20)
        assert api.replay("seek", to=5)["records"] == 90_000
    assert np.concatenate(kept.blocks).tobytes() == mbo.read_dbn(mbo.SIMULATED).load().tobytes()


def test_a_replay_that_was_killed_stands_where_it_stood():
    day = mbo.read_dbn(mbo.SIMULATED)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ReplayProcess([mbo.SIMULATED], rate=2_000.0, port=port) as replay, mbo.connect(replay.url, start=0) as feed:
        until(lambda: feed.status.applied > 500, "the first records")
        replay.stage.obey("speed", rate=3_000.0)
        told = replay.stage.obey("pause")
        killed(replay)
        replay.start()
        assert replay.stage.status() == told | {"running": False, "rate": 3_000.0, "speed": None}
        until(lambda: feed.status.connections == 2 and not feed.stale, "the feed is back")
        assert feed.status.applied <= told["position"] == replay.stage.status()["position"]
        assert replay.stage.obey("start")["running"]
        killed(replay)
        replay.start()
        assert replay.stage.status()["running"]
        assert replay.stage.status()["rate"] == 3_000.0
        replay.stage.obey("speed")
        feed.wait(20)
        assert (feed.status.gaps, feed.status.applied) == (0, 90_000)
        assert feed.book("SIM1").digest() == day.book("SIM1").digest()


def killed(replay):
    process = replay._process
    process.kill()
    process.wait(10)
    process.stdin.close()
    process.stdout.close()


def test_a_file_that_is_none_is_said_at_once(tmp_path):
    (tmp_path / "no.dbn").write_bytes(b"nothing of the kind")
    with pytest.raises(mbo.DataError), ReplayProcess([tmp_path / "no.dbn"]):
        pass
