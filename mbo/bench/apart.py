"""A step of a bench in a process of its own, how much memory a process has taken, and whether there is room on the disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeout
from errno import ENOSPC
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from mbo.errors import LostError

_LIMIT_S: Final = 3_600
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def apart(work: Callable[_Given, _Result], *arguments: _Given.args, **options: _Given.kwargs) -> _Result:
    """Do one step in a new process, so that its memory is its own: nothing of it was there before, all of it is gone after.

    Raises LostError where it does not end in time; it is killed then, and when the bench is told to end.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        step = pool.submit(work, *arguments, **options)
        try:
            return step.result(_LIMIT_S)
        except (FuturesTimeout, KeyboardInterrupt, SystemExit) as ended:
            for process in multiprocessing.active_children():
                process.kill()
            if isinstance(ended, FuturesTimeout):
                raise LostError(f"a step of the bench took more than {_LIMIT_S:,} s") from None
            raise


def most_memory(pid: int | None = None) -> float:
    """Give the most memory (MB, resident, libraries and mapped files too) that a process has had, by default this one.

    It is Linux's VmHWM: what `getrusage` says of a child begins with what its parent had. Where there is none (macOS), what the
    process has now.
    """
    pid = os.getpid() if pid is None else pid
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, timeout=10)  # noqa: S603, S607
        return int(told.stdout) * 1_024 / 1e6
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1_024 / 1e6


def need_room(folder: str | Path, size_bytes: int) -> None:
    """Raise `OSError` where a disk has not so much room, before anything is written to it."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        needed = f"the bench needs {size_bytes / 1e9:,.1f} GB there and {free / 1e9:,.1f} GB are free: set TMPDIR to another place"
        raise OSError(ENOSPC, needed, str(folder))
