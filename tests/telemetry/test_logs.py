"""Log lines of a process: JSON with ids, from structlog and the standard library alike, without secrets, and undone at the end."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re

import pytest
import structlog

from mbo.config import Settings
from mbo.telemetry import Spans, configure_logs, correlated, new_id
from tests.tools.otlp import OtlpReceiver

CANARY = "hunter2-do-not-show"
log = logging.getLogger("mbo.test")


@pytest.fixture
def out():
    return io.StringIO()


def settings(**own) -> Settings:
    return Settings(log={"format": "json", "level": "INFO", **own}, gateway={"key": CANARY})


def lines(out: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_says_when_how_bad_where_and_what(out):
    with configure_logs(settings(), out):
        log.warning("lost %d of %s", 3, "x")
    (line,) = lines(out)
    assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {"level": "warning", "logger": "mbo.test", "event": "lost 3 of x"}


def test_structlog_writes_the_same_lines_with_its_values(out):
    with configure_logs(settings(), out):
        structlog.get_logger("mbo.own").info("answered", status=200, route="/v1", names=["a", "b"])
        structlog.get_logger("mbo.own").debug("not at this level")
    (line,) = lines(out)
    del line["timestamp"]
    assert line == {
        "level": "info", "logger": "mbo.own", "event": "answered", "status": 200, "route": "/v1", "names": ["a", "b"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("level", "expected"),
    [("DEBUG", ["d", "i", "w", "e"]), ("INFO", ["i", "w", "e"]), ("WARNING", ["w", "e"]), ("ERROR", ["e"])],
)
def test_the_level_is_that_of_the_settings(level, expected, out):
    with configure_logs(settings(level=level), out):
        for name in "diwe":
            getattr(log, {"d": "debug", "i": "info", "w": "warning", "e": "error"}[name])(name)
    assert [line["event"] for line in lines(out)] == expected


def test_other_libraries_are_not_asked_for_their_debug_lines(out):
    with configure_logs(settings(level="DEBUG"), out):
        logging.getLogger("elsewhere").debug("detail")
        logging.getLogger("elsewhere").warning("trouble")
    assert [line["event"] for line in lines(out)] == ["trouble"]


# ------------------------------------------------------------ ids


def test_ids_stand_in_every_line_of_their_block_and_in_no_other(out):
    with configure_logs(settings(), out):
        with correlated(request_id="r1"):
            log.info("a")
            with correlated(client="alice", request_id="r2"):
                structlog.get_logger("mbo.own").info("b")
            log.info("c")
        log.info("d")
    found = [(line["event"], line.get("request_id"), line.get("client")) for line in lines(out)]
    assert found == [("a", "r1", None), ("b", "r2", "alice"), ("c", "r1", None), ("d", None, None)]


def test_tasks_and_their_threads_keep_their_own_ids(out):
    async def one(name: str) -> None:
        with correlated(request_id=name):
            await asyncio.sleep(0)
            log.info("task %s", name)
            await asyncio.to_thread(log.info, "thread %s", name)

    async def all_at_once() -> None:
        await asyncio.gather(*(one(f"r{n}") for n in range(20)))

    with configure_logs(settings(repeats=1_000), out):
        asyncio.run(all_at_once())
    found = lines(out)
    assert len(found) == 40
    assert all(line["event"].endswith(f" {line['request_id']}") for line in found)


def test_new_ids_differ():
    found = {new_id() for _ in range(1_000)}
    assert len(found) == 1_000
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in found)


def test_a_line_within_a_span_has_its_ids(out):
    with OtlpReceiver() as receiver, configure_logs(settings(), out):
        spans = Spans(receiver.endpoint)
        with spans.span("work"):
            log.info("inside")
        log.info("outside")
        spans.close()
    ((span, _),) = receiver.spans
    inside, outside = (line for line in lines(out) if line["logger"] == "mbo.test")
    assert (inside["trace_id"], inside["span_id"]) == (span.trace_id.hex(), span.span_id.hex())
    assert "trace_id" not in outside


# ------------------------------------------------------------ secrets


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_of_the_settings_is_written(form, out):
    with configure_logs(settings(format=form), out, known=["another-secret"]):
        log.warning("the key is %s", CANARY)
        log.warning("and %r", {"x": [CANARY]})
        structlog.get_logger("mbo.own").warning(
            CANARY, deep={"list": [CANARY, b"another-secret"]}, error=ValueError(CANARY)
        )
        secret = CANARY + "!"
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("failed")
        with correlated(client=CANARY):
            log.warning("bye")
    text = out.getvalue()
    assert CANARY not in text
    assert "another-secret" not in text
    assert text.count("**********") == 8  # of which four in one line
    assert "Traceback (most recent call last)" in text
    assert "ValueError" in text


def test_text_is_for_people_and_a_traceback_shows_no_values(out):
    with configure_logs(settings(format="text"), out), correlated(request_id="r1"):
        hidden = "only-a-local-value"
        try:
            raise ValueError(len(hidden))
        except ValueError:
            log.exception("failed")
    text = out.getvalue()
    assert "[error    ] failed" in text
    assert "request_id=r1" in text
    assert "ValueError: 18" in text
    assert "only-a-local-value" not in text.replace('hidden = "only-a-local-value"', "")
    assert "\x1b" not in text


def test_a_line_that_cannot_be_made_says_where_it_is_from_and_not_what_is_in_it(out, capsys):
    with configure_logs(settings(), out):
        log.warning("%d records", CANARY)
        log.warning("after")
    broken, after = lines(out)
    assert broken["event"] == "a log line could not be written"
    assert re.fullmatch(r"test_logs\.py:\d+", broken["at"])
    assert after["event"] == "after"
    assert CANARY not in out.getvalue() + "".join(capsys.readouterr())


def test_an_output_that_is_closed_stops_nobody(capsys):
    gone = io.StringIO()
    with configure_logs(settings(), gone):
        gone.close()
        log.warning("the key is %s", CANARY)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_peers_words_make_no_line_of_their_own(form, out):
    with configure_logs(settings(format=form), out):
        log.warning("it said %s", "x\n2026-01-01 [error] forged\r\x1b[2J\u2028")
        structlog.get_logger("mbo.own").warning("it said", words="y\n2026-01-01 [error] forged")
    text = out.getvalue()
    assert len(text.splitlines()) == 2
    assert form == "text" or text.isascii()
    assert text.count("forged") == 2
    assert "\x1b" not in text


# ------------------------------------------------------------ repeats


def test_repeated_lines_are_counted_with_the_ids_of_the_last(out):
    with configure_logs(settings(repeats=2, repeats_s=3_600), out):
        for n in range(6):
            with correlated(request_id=f"r{n}"):
                log.warning("gone for %d s", n)
        with correlated(request_id="other"):
            log.warning("something else")
    found = [(line["event"], line["request_id"], line.get("suppressed")) for line in lines(out)]
    assert found == [
        ("gone for 0 s", "r0", None), ("gone for 1 s", "r1", None), ("something else", "other", None), ("gone for 5 s", "r5", 3)
    ]  # fmt: skip


# ------------------------------------------------------------ what was there before


def test_servers_write_through_it_and_get_their_handlers_back(out):
    own, uvicorn = io.StringIO(), logging.getLogger("uvicorn.error")
    handler = logging.StreamHandler(own)
    before = uvicorn.propagate, uvicorn.level
    uvicorn.addHandler(handler)
    uvicorn.propagate = False
    try:
        with configure_logs(settings(), out):
            uvicorn.info("Started")
            logging.getLogger("uvicorn.access").info("GET /")
        uvicorn.warning("afterwards")
        assert (uvicorn.handlers, uvicorn.propagate) == ([handler], False)
    finally:
        uvicorn.removeHandler(handler)
        uvicorn.propagate, uvicorn.level = before
    assert [line["event"] for line in lines(out)] == ["Started"]
    assert own.getvalue() == "afterwards\n"


def test_at_the_end_everything_is_as_it_was(out):
    root, package = logging.getLogger(), logging.getLogger("mbo")
    before = root.handlers[:], root.level, package.handlers[:], package.level
    with configure_logs(settings(level="DEBUG"), out):
        assert root.handlers != before[0]
    assert (root.handlers[:], root.level, package.handlers[:], package.level) == before
    assert not structlog.is_configured()
    log.error("afterwards")
    assert out.getvalue() == ""
