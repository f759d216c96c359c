"""One of everything that is watched, with figures set by hand, and promtool where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mbo.live.status import FeedStatus, Gap
from mbo.recorder import RecorderStatus
from mbo.telemetry import BookFigures, ClientFigures, FeedFigures, Metrics
from mbo.telemetry.figures import EDGES_NS

FEED = FeedFigures(
    status=FeedStatus(1_000, 7, 3, True, False, False, 2, Gap(5, 6, "x"), 4, ("y",)),
    batches=11,
    applied_ns=1_700_000_000_500_000_000,
    books=BookFigures(2, 1_600_000_000_250_000_000, 30, 400, {"bad_size": 5, "bad_price": 0}, 1),
    latency=tuple(range(0, 2 * len(EDGES_NS) + 1, 2)),
    latency_sum_s=0.75,
    lag_s=0.125,
)
RECORDER = RecorderStatus(900, 50, 6, 1.5, 70, 4.5, 0.5, 8, None)
CLIENTS = ClientFigures(100, 2_000, 300, 40_000, 500, {"slow": 2, "shutdown": 1})


def all_watched() -> Metrics:
    metrics = Metrics()
    metrics.watch_feed(lambda: FEED)
    metrics.watch_recorder(lambda: RECORDER, buffer_rows=1_000)
    metrics.watch_clients(lambda: CLIENTS)
    metrics.watch_queue("questions", lambda: 9)
    metrics.request("GET", "/v1/books/{symbol}", 200, 0.002)
    return metrics


def promtool(*arguments: str, text: bytes = b"", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    found = os.environ.get("MBO_TEST_PROMTOOL") or shutil.which("promtool")
    if not found:
        missing = "there is no promtool: Debian's package prometheus has it, MBO_TEST_PROMTOOL names one elsewhere"
        if "prometheus" in os.environ.get("MBO_REQUIRE", "").split(","):
            pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
        pytest.skip(missing)
    return subprocess.run(
        [found, *arguments], input=text.decode(), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
