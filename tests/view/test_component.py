"""The component's own part: messages in, frames out, what was chosen kept; without a browser."""

from types import SimpleNamespace

import pytest

import mbo
from mbo.view import Hub, Ladder, Recorded
from mbo.view.frame import unpack
from mbo.view.program import Program


@pytest.fixture
def program():
    made = Recorded.of(mbo.read_dbn(mbo.SIMULATED))
    made.index().wait(60)
    yield made
    made.close()


@pytest.fixture
def sent(monkeypatch) -> list[bytes]:
    frames: list[bytes] = []
    monkeypatch.setattr(Ladder, "_send_msg", lambda self, data: frames.append(data))
    return frames


def test_frames_come_once_the_component_is_ready(program: Program, sent):
    hub = Hub()
    ladder = Ladder(program, hub=hub)
    assert len(hub) == 0
    ladder._handle_msg({"do": "ready"})
    assert len(hub) == 1
    hub.turn()
    header, _ = unpack(sent[0])
    assert header["meta"]["symbol"] == "SIM1"
    assert header["playing"] is True
    ladder.close()
    assert len(hub) == 0


def test_time_before_the_page_is_there_does_not_pass(program, sent):
    hub, now = Hub(), [0.0]
    ladder = Ladder(program, hub=hub)
    viewer = ladder.viewer
    viewer._clock = viewer.player._clock = lambda: now[0]
    viewer.player.wake()
    now[0] = 13.0
    ladder._handle_msg({"do": "ready"})
    now[0] += 0.5
    hub.turn()
    header, _ = unpack(sent[0])
    assert header["now"] == 500_000_000


def test_page_that_stopped_somewhere_begins_there_paused(program, sent):
    hub = Hub()
    ladder = Ladder(program, hub=hub, state={"t": 20_000_000_000})
    ladder._handle_msg({"do": "ready"})
    hub.turn()
    header, _ = unpack(sent[0])
    assert header["now"] == 20_000_000_000
    assert header["playing"] is False


@pytest.mark.parametrize("place", ["noon", None, -1, 2**80, float("inf"), True])
def test_nonsense_in_an_address_is_not_gone_to(program, place):
    ladder = Ladder(program, hub=Hub(), state={"t": place})
    assert ladder.viewer.player.playing


def test_page_that_is_gone_is_sent_nothing(program, sent):
    hub = Hub()
    ladder = Ladder(program, hub=hub)
    ladder._handle_msg({"do": "ready"})
    session = SimpleNamespace(connection_count=0)
    ladder._send(SimpleNamespace(session_context=SimpleNamespace(session=session)), b"frame")
    assert (sent, len(hub)) == ([], 0)
    ladder._handle_msg({"do": "ready"})  # it has come back
    hub.turn()
    assert len(sent) == 1


def test_what_was_chosen_is_kept(program, sent):
    ladder, seen = Ladder(program, hub=Hub()), []
    ladder.param.watch(lambda event: seen.append(event.new), "state")
    ladder._handle_msg({"do": "state", "state": {"palette": "green/red"}})
    assert seen == [{"palette": "green/red"}]


def test_nonsense_from_a_page_ends_nothing(program, sent):
    hub = Hub()
    ladder = Ladder(program, hub=hub)
    for message in (None, 7, "ready", {"do": {}}, {"do": "ready"}, {"do": "boom"}):
        ladder._handle_msg(message)
    hub.turn()
    header, _ = unpack(sent[0])
    assert header["notice"]["level"] == "warning"


def test_day_shows_its_ladder():
    ladder = mbo.read_dbn(mbo.SIMULATED).ladder("SIM2", theme="light")
    assert isinstance(ladder, Ladder)
    assert ladder.viewer.index.symbol == "SIM2"
    assert ladder.theme == "light"
    with pytest.raises(mbo.RequestError, match="SIM9"):
        mbo.read_dbn(mbo.SIMULATED).ladder("SIM9")
