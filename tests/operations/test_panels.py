"""Every panel has something to show: a Prometheus that scrapes a live `mbo serve`, asked and followed, runs its queries."""

from __future__ import annotations

import math
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from mbo.api.client import Client
from mbo.errors import MboError
from mbo.simulator import write_session
from tests.api.test_processes import Served, running
from tests.api.test_prometheus import Prometheus, program
from tests.operations.promql import KEY, PROMETHEUS, RULE_FILES, asked, exposed, metrics, pages, rules

SHORTER = {"scrape_interval": "500ms", "evaluation_interval": "500ms", "interval": "500ms"}
RECORDS, RATE = 120_000, 2_000
LIMIT_S = 40.0


def configured(folder: Path, target: str) -> Path:
    """Copy our configuration and rules, for a target on loopback and with waits that a test can bear."""
    folder.mkdir()
    (folder / "key").write_text("of nobody\n")
    for name in ("prometheus.yml", *RULE_FILES):
        text = re.sub(
            rf"^( *)({'|'.join(SHORTER)}): \S+$", lambda at: f"{at[1]}{at[2]}: {SHORTER[at[2]]}", (PROMETHEUS / name).read_text(),
            flags=re.M,
        )  # fmt: skip
        (folder / name).write_text(text.replace("api:8000", target).replace(KEY, "key"))
    return folder / "prometheus.yml"


@contextmanager
def scraping(folder: Path, served: Served) -> Iterator[Prometheus]:
    config = configured(folder, served.url.removeprefix("http://"))
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
            yield prometheus
        finally:
            prometheus.close()
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def traffic(url: str) -> Iterator[None]:
    """Ask for books, and for one that is not there, and follow books, until it is enough."""
    over = threading.Event()

    def ask() -> None:
        with Client(url, tries=1) as api:
            while not over.wait(0.05):
                for path in ("/v1/books/SIM1", "/v1/books/NONE", "/readyz", "/v1/instruments"):
                    try:
                        api._json(path)
                    except MboError:
                        continue

    def follow() -> None:
        with Client(url) as api:
            for _ in api.stream(["SIM1"], depth=5, hz=20):
                if over.is_set():
                    return

    with ExitStack() as stack:
        for work in (ask, follow):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            stack.callback(thread.join, 20)
        stack.callback(over.set)
        yield


def answer(prometheus: Prometheus, expr: str) -> str:
    """Say what is wrong with the answer to a query; nothing where it is values that can be drawn."""
    found: list[dict[str, Any]] = prometheus.get("query", query=expr)["result"]
    if not found:
        return "no answer"
    values = [float(one["value"][1]) for one in found]
    return "" if all(map(math.isfinite, values)) else f"{values} cannot be drawn"


def wrong(prometheus: Prometheus) -> dict[str, str]:
    """Give every query of the dashboards, and every rule that records, that has no proper answer."""
    recorded = [
        f'{rule["record"]}{{slo=~"{rule.get("labels", {}).get("slo", ".+")}"}}' for rule in rules() if "record" in rule
    ]
    exprs = [*(one.runnable for one in asked()), *recorded]
    return {expr: why for expr in exprs if (why := answer(prometheus, expr))}


def settled(prometheus: Prometheus) -> None:
    """Wait until every query has an answer; some need two scrapes, others a flush of the store."""
    deadline = time.monotonic() + LIMIT_S
    while found := wrong(prometheus):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_every_panel_has_something_to_show(tmp_path):
    program("prometheus")
    day = tmp_path / "day.dbn"
    write_session(day, RECORDS, seed=3)
    arguments = ("--file", str(day), "--rate", str(RATE), "--store", f"chdb://{tmp_path / 'store'}")
    with running(tmp_path, *arguments) as served:
        served.until(lambda api: api.ready(), "books are served")
        with traffic(served.url), scraping(tmp_path / "prometheus", served) as prometheus:
            settled(prometheus)

            # What could go wrong with a panel is found: a name that nothing shows, a division by nothing, a label that nobody has.
            for fault, why in (
                ("sum(rate(mbo_mesages_total[1m]))", "no answer"),
                ("mbo_books / 0 * 0", "cannot be drawn"),
                ('sum(mbo_books{instance="nobody"})', "no answer"),
            ):
                assert why in answer(prometheus, fault)

            seen = set(exposed(httpx.get(f"{served.url}/metrics").text)) | set(prometheus.get("label/__name__/values"))
            used = set().union(*(metrics(one.expr) for one in asked()), *(metrics(rule["expr"]) for rule in rules()))
            assert used - seen <= {"ALERTS"}  # which there are once one is pending
            assert "mbo_mesages_total" not in seen

            # What the variable at the top of a page lists.
            for page in pages().values():
                (variable,) = page["templating"]["list"]
                assert variable["query"] == "label_values(mbo_build_info, instance)"
            assert prometheus.get("label/instance/values", **{"match[]": "mbo_build_info"}) == [
                served.url.removeprefix("http://")
            ]
    assert served.process.returncode == 0, served.log
