"""Is this installation sound? Versions, what is installed, and the bundled session rebuilt to its known end."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import mbo
from mbo.errors import MboError

_CORE = ("databento-dbn", "numpy", "numba", "polars", "pyarrow", "sortedcontainers")
_EXTRAS = {
    "serve": ("fastapi", "uvicorn", "structlog", "prometheus-client"),
    "dashboard": ("panel", "bokeh"),
    "scale": ("dask", "distributed"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    good: bool = True


def checks() -> Iterator[Check]:
    """Look at everything, one after the other."""
    yield Check(
        "python", f"{platform.python_version()} on {platform.platform(terse=True)}", sys.version_info >= (3, 11)
    )
    for name in _CORE:
        yield Check(name, _version(name) or "not installed", _version(name) is not None)
    for extra, names in _EXTRAS.items():
        missing = [name for name in names if _version(name) is None]
        yield Check(f"extra {extra}", f"without {', '.join(missing)}" if missing else "installed")
    yield _kernels()
    yield _bundled()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kernels() -> Check:
    from mbo import _jit

    if not _jit.JIT:
        return Check("kernels", "as plain Python: NUMBA_DISABLE_JIT is set")
    place = f"compiled, kept in {_jit.cache_dir()}"
    return Check("kernels", place if _jit.kept() else f"compiled at every start: {_jit.cache_dir()} cannot be written")


def _bundled() -> Check:
    try:
        manifest = json.loads(mbo.SIMULATED.with_name("simulated.json").read_text())
        books = mbo.read_dbn(mbo.SIMULATED).books(strict=True)
        for book in books.values():
            book.check()
    except (MboError, OSError, ValueError) as error:
        return Check("bundled session", str(error), good=False)
    digests = {book.symbol: book.digest() for book in books.values()}
    found = f"{len(books)} books, {sum(book.status.messages for book in books.values()):,} records"
    return Check("bundled session", found, digests == manifest["digests"])
