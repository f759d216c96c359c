"""The stack on a real engine: what it serves, what it may do, and that it comes back from every fault."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import pytest

import mbo
from tests.docker.stack import PORTS, SERVICES, Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]  # the first of them waits for the image

AT = "2025-01-06T14:30:30"
"""Within the first round of the recording, long after the recorder has begun."""


def ready(stack: Stack) -> bool:
    return stack.get("api", "/readyz").status_code == 200


def applied(stack: Stack) -> int:
    return int(stack.get("api", "/readyz").json()["feed"]["applied"])


def stored(stack: Stack) -> dict[str, int]:
    """Count what the recorded session has: rows, different rows, and one more than the last row's number."""
    sql = (
        "SELECT count() AS rows, uniqExact(row_num) AS different, max(row_num) + 1 AS numbers FROM mbo.messages "
        "FORMAT JSONEachRow"
    )
    return {name: int(count) for name, count in json.loads(stack.sql(sql)).items()}


def exposed(stack: Stack) -> set[int]:
    """Name the ports of the engine's network that listen beyond loopback."""
    with stack.inside():
        lines = [
            line.split()
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]
        ]
    listening = [line[1].split(":") for line in lines if line[3] == "0A"]
    return {
        int(port, 16) for address, port in listening if address not in ("0100007F", "00000000000000000000000001000000")
    }


def test_everything_is_healthy_and_published_on_loopback_alone(stack):
    assert {stack.health(service) for service in SERVICES} == {"healthy"}
    for service in PORTS:
        with stack.inside(), socket.create_connection(("127.0.0.1", PORTS[service]), 10):
            pass
    assert exposed(stack) == set()
    with stack.inside(), socket.create_server(("0.0.0.0", 0)) as planted:
        assert exposed(stack) == {planted.getsockname()[1]}


def test_the_book_of_the_api_is_the_files(stack):
    """What went through gateway, recorder and ClickHouse is the book that `mbo` computes from the file."""
    day = mbo.read_dbn(mbo.SIMULATED)
    with stack.inside(), stack.client() as api:
        (session,) = stack.until(api.stored, "a session is stored")
        stack.until(
            lambda: api.trades("SIM1", "2025-01-06T14:30:36", "2025-01-06T14:30:38").num_rows,
            "it reaches 14:30:36",
            150,
        )
        for symbol in day.symbols:
            found = api.book(symbol, at=AT, digest=True, file=session["name"])
            assert found["digest"] == day.book(symbol, at=AT).digest()
        earlier = day.book("SIM1", at="2025-01-06T14:30:29.5").digest()  # the control: they are not all the same
        assert api.book("SIM1", at=AT, digest=True, file=session["name"])["digest"] != earlier


def test_the_dashboard_answers_and_prometheus_has_the_api(stack):
    page = stack.get("dashboard", "/app")
    assert page.status_code == 200
    assert "<title>mbo</title>" in page.text

    def up(job: str) -> list[float]:
        found = stack.get("prometheus", "/api/v1/query", params={"query": f'up{{job="{job}"}}'}).json()["data"][
            "result"
        ]
        return [float(one["value"][1]) for one in found]

    stack.until(lambda: up("mbo") == [1], "the target is up")
    assert up("none") == []
    assert stack.get("api", "/metrics").status_code == 401  # to those without a key it is closed


def test_containers_have_no_rights(stack):
    def rights(pid: int) -> tuple[str, str, str, bool]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found = {line.partition(":")[0]: line.split()[1] for line in lines if len(line.split()) > 1}
        return found["CapEff"], found["CapBnd"], found["NoNewPrivs"], found["Uid"] == "0"

    for service in SERVICES:
        found = stack.inspect(service)
        assert rights(found["State"]["Pid"]) == ("0" * 16, "0" * 16, "1", False), service
        for place in ("/planted", "/usr/planted", "/opt/planted"):
            said = stack.exec(service, "sh", "-c", f"echo > {place}", check=False, user="0")
            assert "ead-only file system" in said or "nonexistent" in said or "Directory nonexistent" in said, said
        assert found["HostConfig"]["Memory"] > 0
        assert found["HostConfig"]["PidsLimit"] > 0
    free = stack.engine.docker(
        "run", "--detach", "--rm", "--network=none", "--entrypoint=sleep", "mbo-test-base:bookworm", "60"
    ).stdout
    try:
        pid = json.loads(stack.engine.docker("inspect", free.strip()).stdout)[0]["State"]["Pid"]
        effective, _, gains, root = rights(pid)
        assert (effective != "0" * 16, gains, root) == (True, "0", True)
    finally:
        stack.engine.docker("kill", free.strip())


def test_nothing_was_compiled_in_a_container(stack):
    """Whatever the services have done so far, they did with the image's kernels."""
    listing = "cd {} && find . -name '*.nbc' | sort"
    for service in ("gateway", "api", "dashboard"):
        inside = stack.exec(service, "sh", "-c", listing.format("/opt/mbo/kernels")).split()
        assert len(inside) > 20
        assert stack.exec(service, "sh", "-c", listing.format("/tmp/kernels")).split() == inside, service
    code = "import mbo; mbo.read_dbn(mbo.SIMULATED).infer_opening()"  # which no service does
    stack.exec("gateway", "env", "MBO_CACHE_DIR=/tmp/kernels", "python", "-c", code)
    assert stack.exec("gateway", "sh", "-c", listing.format("/tmp/kernels")).split() != inside


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_container_comes_back(stack, service):
    before, was = stack.restarts(service), applied(stack)
    stack.kill(service)
    stack.until(lambda: stack.restarts(service) > before, f"{service} is started again")
    stack.until(lambda: stack.health(service) == "healthy", f"{service} is healthy")
    stack.until(lambda: ready(stack) and (applied(stack) > was or service == "api"), "the API is ready, and goes on")


def test_a_gateway_that_is_cut_off_is_noticed_and_comes_back(stack):
    stack.cut("gateway", "feed")
    stack.until(lambda: not ready(stack), "the API is not ready")
    stack.until(lambda: stack.health("api") == "unhealthy", "and its container is unhealthy")
    assert stack.health("clickhouse") == "healthy"
    stack.heal("gateway", "feed")
    stack.until(lambda: ready(stack), "the API is ready again", 120)
    stack.until(lambda: stack.health("api") == "healthy", "and its container healthy")


def test_a_store_that_is_frozen_loses_nothing(stack):
    stack.pause("clickhouse")
    with contextlib.ExitStack() as undo:
        undo.callback(stack.resume, "clickhouse")
        stack.until(lambda: not ready(stack), "the API is not ready")
    stack.until(lambda: ready(stack), "the API is ready again", 120)
    before = stored(stack)["rows"]
    stack.until(lambda: stored(stack)["rows"] > before, "rows are stored again")


def test_what_is_stored_outlives_the_containers(stack):
    """Down and up again; and in all that the tests before this did to it, no row was lost or stored twice."""
    before = stored(stack)
    key = stack.secret("api_key")
    stack.down()
    assert stack.container("clickhouse") == ""
    stack.up()
    assert stack.secret("api_key") == key
    after = stored(stack)
    assert after["rows"] >= before["rows"] > 0
    assert after["rows"] == after["different"] == after["numbers"], after


def test_nothing_starts_before_what_it_needs(stack):
    """Health gates the start: without a gateway there is no API."""
    with contextlib.ExitStack() as undo:
        gated = Stack(stack.engine, Path(stack.settings["MBO_TEST_LIBRARY"]), project="gated", settings={
            "MBO_REPLAY": "/data/none.dbn", **{f"MBO_{name.upper()}_PORT": str(port + 10_000) for name, port in PORTS.items()},
        })  # fmt: skip
        undo.callback(gated.down, volumes=True)
        said = gated.compose("up", "--detach", "--wait", "--wait-timeout", "20", "api", check=False)
        assert gated.inspect("api")["State"]["Status"] == "created", said
        assert gated.health("clickhouse") == "healthy"
        gated.settings["MBO_REPLAY"] = "/opt/mbo/simulated.mbo.dbn.zst"
        gated.up("api")
        assert gated.health("api") == "healthy"
