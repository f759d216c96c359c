"""Replay control: what is asked for with a key is done once, however often it is asked for; and it reaches a real gateway."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import mbo
from mbo.api import replay_routes
from mbo.api.client import Client
from mbo.api.replaying import ReplayProcess
from mbo.api.source import LiveSource
from mbo.errors import LostError, RequestError
from tests.api.scripted import CONTROL, READ, application, asked, keys, quoted, serving
from tests.api.test_books import problem
from tests.api.test_edge import Stage, bearer

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


def test_a_file_that_is_none_is_said_at_once(tmp_path):
    (tmp_path / "no.dbn").write_bytes(b"nothing of the kind")
    with pytest.raises(mbo.DataError), ReplayProcess([tmp_path / "no.dbn"]):
        pass
