"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import numpy as np

import mbo

_COPIED_BYTES: Final = 1 << 28  # far more than any cache holds
_COPIES: Final = 5
_BESIDE: Final = ("databento", "databento-dbn", "duckdb", "mbo-queue", "nautilus_trader", "polars", "sortedcontainers")


def machine() -> dict[str, str]:
    """Name the processor, its memory's speed and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores", "memory copied by one core": f"{memory_gb_per_s():.1f} GB/s",
        "system": platform.platform(terse=True), "Python": platform.python_version(), "numpy": np.__version__,
        "numba": version("numba"), "mbo": mbo.__version__, "beside it": ", ".join(_versions(_BESIDE)),
    }  # fmt: skip


def _versions(packages: Iterable[str]) -> Iterator[str]:
    """Name those that are installed, and their versions."""
    for name in packages:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


@cache
def memory_gb_per_s() -> float:
    """Measure, once, how fast one core copies memory; the best of several, bytes read and written both counted."""
    source, target = np.ones(_COPIED_BYTES, np.uint8), np.ones(_COPIED_BYTES, np.uint8)
    seconds = []
    for _ in range(_COPIES):
        begun = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - begun)
    return 2 * _COPIED_BYTES / min(seconds) / 1e9
