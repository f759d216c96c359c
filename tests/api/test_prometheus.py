"""A real Prometheus scrapes `mbo serve` and evaluates our rules: alerts fire when something is broken, and clear when it is mended.

Debian's package prometheus has it and promtool; MBO_TEST_PROMETHEUS and MBO_TEST_PROMTOOL name programs elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

import mbo
from mbo.live.gateway import Gateway
from mbo.replay import Records
from mbo.simulator import write_session
from tests.api.test_processes import Served, running
from tests.tools.clickhouse_http import HttpServer, library

FOLDER: Final = Path(__file__).parents[2] / "docker" / "prometheus"
FILES: Final = ("prometheus.yml", "alerts.yml", "slo.yml")
KEY: Final = "/run/secrets/metrics_key"
RULES: Final = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
SHORTER: Final = {"scrape_interval": "1s", "evaluation_interval": "500ms", "interval": "500ms", "for": "2s"}
"""What a test cannot wait for. `rate` and `increase` look back as far as ever."""
FOR_S: Final = float(SHORTER["for"].removesuffix("s"))
LIMIT_S: Final = 40.0
RECORDS: Final = 30_000

pytestmark = pytest.mark.resilience


def program(name: str) -> str:
    """Find a program of Debian's package prometheus; else skip the test, or fail it if MBO_REQUIRE has "prometheus"."""
    variable = f"MBO_TEST_{name.upper()}"
    if found := shutil.which(os.environ.get(variable) or name):
        return found
    missing = f"there is no {name}: Debian's package prometheus has it, {variable} names one elsewhere"
    if "prometheus" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
    pytest.skip(missing)


def shortened(text: str) -> str:
    """Write every wait of a file of Prometheus' anew, and nothing else of it."""
    return re.sub(
        rf"^( *)({'|'.join(SHORTER)}): \S+$", lambda at: f"{at[1]}{at[2]}: {SHORTER[at[2]]}", text, flags=re.M
    )


def copied(folder: Path, target: str) -> Path:
    """Write our configuration and rules for a quick run that scrapes `target`; gives the configuration."""
    (folder / "key").write_text("of nobody\n")
    for name in FILES:
        text = shortened((FOLDER / name).read_text()).replace("api:8000", target)
        (folder / name).write_text(text.replace(KEY, "key"))
    return folder / "prometheus.yml"


class Prometheus:
    """A server on loopback, asked by its HTTP API."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self._process, self._log = process, log
        self._http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def ready(self) -> bool:
        return self._http.get("/-/ready").is_success

    def get(self, path: str, **parameters: str) -> Any:
        found = self._http.get(f"/api/v1/{path}", params=parameters).raise_for_status().json()
        assert found["status"] == "success", found
        return found["data"]

    def values(self, expression: str) -> list[float]:
        return [float(one["value"][1]) for one in self.get("query", query=expression)["result"]]

    def alert(self, name: str) -> dict[str, Any]:
        """Give an alert as it stands now; empty while it is neither pending nor firing."""
        found = [one for one in self.get("alerts")["alerts"] if one["labels"]["alertname"] == name]
        assert len(found) < 2, found
        return found[0] if found else {}

    def told(self, name: str) -> dict[str, list[float]]:
        """Give the times at which an alert was pending, and those at which it was firing, from the beginning."""
        found = self.get("query", query=f'ALERTS{{alertname="{name}"}}[1h]')["result"]
        return {one["metric"]["alertstate"]: [at for at, _ in one["values"]] for one in found}

    def fired(self, name: str) -> bool:
        """Say whether an alert has fired; on a busy machine a scrape may fail, which is no reason to."""
        return "firing" in self.told(name)

    def until(self, holds: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
        deadline = time.monotonic() + limit_s
        while not (found := self._tried(holds)):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, (
                f"not within {limit_s:g} s: {what}\n{self._tried(lambda: self.get('alerts'))}"
            )
            time.sleep(0.1)
        return found

    def fires(self, name: str) -> None:
        """Wait until an alert fires: it was pending for as long as its rule says, and tells people what to do."""
        alert = self.until(lambda: (found := self.alert(name)).get("state") == "firing" and found, f"{name} fires")
        times = self.told(name)
        assert set(times) == {"pending", "firing"}
        assert times["firing"][0] - times["pending"][0] >= FOR_S - 0.001, times
        (rule,) = [rule for rule in RULES if rule["alert"] == name]
        assert alert["labels"].items() >= rule["labels"].items()
        (instance,) = [one["labels"]["instance"] for one in self.get("targets")["activeTargets"]]
        assert alert["annotations"]["summary"] == rule["annotations"]["summary"].replace(
            "{{ $labels.instance }}", instance
        )
        assert alert["annotations"]["runbook"] == rule["annotations"]["runbook"]

    def clears(self, name: str) -> None:
        self.until(lambda: not self.alert(name), f"{name} clears")
        self.until(lambda: self.values(f'count(ALERTS{{alertname="{name}"}}) or vector(0)') == [0], f"{name} has ended")

    @staticmethod
    def _tried(holds: Callable[[], Any]) -> Any:
        try:
            return holds()
        except httpx.TransportError:  # not up yet; one that has ended is found out by its process
            return None


@contextmanager
def scraping(folder: Path, served: Served) -> Iterator[Prometheus]:
    """Run Prometheus on the rules of `docker/prometheus`, until the target is up."""
    folder.mkdir()
    config = copied(folder, served.url.removeprefix("http://"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(
        [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
        stdout=out, stderr=out, start_new_session=True,
    ) as process:  # fmt: skip
        prometheus = Prometheus(process, f"http://127.0.0.1:{port}", log)
        try:
            prometheus.until(prometheus.ready, "Prometheus answers")
            prometheus.until(lambda: prometheus.values('up{job="mbo"}') == [1], "the target is up")
            yield prometheus
        finally:
            prometheus.close()
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Records:
    path = tmp_path_factory.mktemp("session") / "day.dbn"
    write_session(path, RECORDS, seed=3)
    return mbo.read_dbn(path)


def connected(served: Served, gateway: Gateway) -> None:
    """Wait until the API and the recorder are there: what is sent from now on both of them get."""
    served.until(lambda api: len(gateway.sessions) == 2 and api._json("/readyz")["ready"], "both are connected")


def test_only_waits_are_written_anew(tmp_path):
    """Of the rules and the configuration that are tried here all else is what is deployed."""

    def without(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: without(value) for name, value in found.items() if name not in SHORTER}
        return [without(one) for one in found] if isinstance(found, list) else found

    def waits(found: Any) -> list[str]:
        parts = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        own = [name for name in found if name in SHORTER] if isinstance(found, dict) else []
        return own + [name for part in parts for name in waits(part)]

    copied(tmp_path, "api:8000")
    for name in FILES:
        ours, quick = (yaml.safe_load((folder / name).read_text().replace(KEY, "key")) for folder in (FOLDER, tmp_path))
        assert without(quick) == without(ours)
        assert waits(quick) == waits(ours)
        assert ours != quick
    assert sum("for" in rule for rule in RULES) == (tmp_path / "alerts.yml").read_text().count(
        f"for: {SHORTER['for']}\n"
    )


def test_promtool_accepts_what_is_tried_here(tmp_path):
    found = subprocess.run(
        [program("promtool"), "check", "config", str(copied(tmp_path, "127.0.0.1:1"))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert f"{len(RULES)} rules found" in found.stdout


def test_a_feed_that_is_silent_then_hangs_then_is_lost(tmp_path, day):
    """Alerts of the feed: no messages come, the process stops answering, the gateway goes; each fires and clears."""
    program("prometheus")
    gateway = Gateway(day, rate=2_000, hold=True).start()
    port = gateway.port
    try:
        with running(tmp_path, "--feed", gateway.url, "--store", f"chdb://{tmp_path / 'store'}") as served:
            connected(served, gateway)
            with scraping(tmp_path / "prometheus", served) as prometheus:
                prometheus.fires("MboNoMessages")
                gateway.begin()
                prometheus.clears("MboNoMessages")

                names = {name for rule in RULES for name in re.findall(r"\b(?:mbo_\w+|up)\b", rule["expr"])}
                assert len(names) > len(RULES)
                for name in sorted(names):
                    prometheus.until(lambda name=name: prometheus.values(f'{name}{{job="mbo"}}'), f"{name} has a value")

                gateway.pause()
                sent = gateway.position
                assert 0 < sent < RECORDS
                prometheus.until(lambda: prometheus.values("mbo_messages_total") == [sent], f"{sent} are counted")
                assert {one.records for one in gateway.sessions} == {sent}

                assert not prometheus.fired("MboDown")
                api = served.pid("api")
                os.kill(api, signal.SIGSTOP)
                try:
                    prometheus.fires("MboDown")
                finally:
                    os.kill(api, signal.SIGCONT)
                prometheus.clears("MboDown")

                assert not prometheus.fired("MboFeedStale")
                gateway.close()
                prometheus.fires("MboFeedStale")
                assert prometheus.values("mbo_feed_connected") == [0]
                gateway = Gateway(day, rate=2_000, hold=True, port=port).start()
                gateway.seek(sent)
                gateway.begin()
                prometheus.clears("MboFeedStale")

                gateway.set_pace()
                prometheus.until(lambda: prometheus.values("mbo_feed_ended") == [1], "the replay ends")
                prometheus.until(lambda: prometheus.values("mbo_messages_total") == [RECORDS], "all are counted")
                assert prometheus.values("mbo_feed_reconnects_total") == [1]
                assert prometheus.values("mbo_feed_gaps_total") == [0]
                for name in ("MboFeedGap", "MboStoreUnwritable", "MboFiguresUnreadable"):
                    assert not prometheus.fired(name), name
        assert served.process.returncode == 0, served.log
    finally:
        gateway.close()


def test_a_store_that_is_gone(tmp_path, day, monkeypatch):
    """Alerts of the recorder: the database is killed under it, its small buffer fills, and it comes back."""
    program("prometheus")
    monkeypatch.setenv("MBO_RECORDER_BUFFER_ROWS", "2000")
    monkeypatch.setenv("MBO_RECORDER_FLUSH_ROWS", "1000")
    database = HttpServer(library(), tmp_path / "clickhouse")
    gateway = Gateway(day, rate=1_000, hold=True).start()
    try:
        with (
            running(tmp_path, "--feed", gateway.url, "--store", database.url) as served,
            scraping(tmp_path / "prometheus", served) as prometheus,
        ):
            connected(served, gateway)
            gateway.begin()
            prometheus.until(lambda: prometheus.values("mbo_store_rows_total > 0"), "rows are stored")
            assert prometheus.values("mbo_store_writable") == [1]
            assert not prometheus.fired("MboStoreUnwritable")
            assert not prometheus.fired("MboRecorderBehind")

            database.kill()
            prometheus.fires("MboStoreUnwritable")
            prometheus.fires("MboRecorderBehind")
            assert prometheus.values("mbo_feed_stale") == [0]

            database.start()
            prometheus.clears("MboStoreUnwritable")
            prometheus.clears("MboRecorderBehind")
            gateway.set_pace()
            prometheus.until(lambda: prometheus.values("mbo_store_rows_total") == [RECORDS], "all is stored")
            assert prometheus.values("mbo_store_flush_failures_total > 0")
            for name in ("MboFeedStale", "MboFeedGap", "MboFiguresUnreadable"):
                assert not prometheus.fired(name), name
        assert served.process.returncode == 0, served.log
    finally:
        gateway.close()
        database.kill()
