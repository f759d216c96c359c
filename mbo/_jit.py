"""Compile kernels with numba and keep the machine code between runs. The only module that imports numba.

numba's own cache notices an edited function but not an edited callee in another file, so the cache lives in a directory named
by a hash of all kernel sources (`_*kernels.py` and this file), numba's version and the CPU: an edit anywhere is a new
directory. `MBO_CACHE_DIR` moves it; where it cannot be written, kernels are compiled for the one process.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from mbo.progress import say

_BYTES, _INT = ir.IntType(8).as_pointer(), ir.IntType(32)
JIT: Final = not numba.config.DISABLE_JIT
_F = TypeVar("_F", bound=Callable[..., Any])
_PACKAGE = Path(__file__).parent


@functools.cache
def cache_dir() -> Path:
    """Where the compiled kernels of exactly these sources, this numba and this CPU live."""
    digest = hashlib.blake2b(digest_size=8)
    for source in [Path(__file__), *sorted(_PACKAGE.rglob("_*kernels.py"))]:
        digest.update(source.relative_to(_PACKAGE).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    cpu = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    digest.update(f"{numba.__version__} {cpu} {numba.config.BOUNDSCHECK} {sys.implementation.cache_tag}".encode())
    return _root() / f"kernels-{digest.hexdigest()}"


def _root() -> Path:
    if chosen := os.environ.get("MBO_CACHE_DIR"):
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in many containers
        return Path(tempfile.gettempdir()) / f"mbo-{os.getuid()}"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "mbo"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "mbo"


@functools.cache
def kept() -> bool:
    """Say whether kernels that are compiled now are there at the next start."""
    try:
        _root().mkdir(mode=0o700, parents=True, exist_ok=True)
        if _root().stat().st_uid != os.getuid():
            return False  # machine code from a folder of somebody else's is not run
        cache_dir().mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(cache_dir(), os.W_OK)


@functools.cache
def _used_dir() -> Path:
    """Where numba looks: it takes no folder that it cannot write to, so one that is filled and read-only is copied first."""
    if kept() or not cache_dir().is_dir():
        return cache_dir()
    copy = Path(tempfile.mkdtemp(prefix="mbo-kernels-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(cache_dir(), copy, dirs_exist_ok=True)
    return copy


@functools.cache
def announce(name: str) -> None:
    """Tell a person at the terminal, once, when the kernel `name` has to be compiled before it can work."""
    if not JIT or any(cache_dir().glob(f"**/*.{name}-*.nbc")):
        return
    if kept():
        say("mbo: compiling its kernels, once for this machine and version; up to a minute ...")
    else:
        say(f"mbo: compiling its kernels at every start, for {cache_dir()} cannot be written (see MBO_CACHE_DIR) ...")


# Kernels never allocate, so they are compiled without numba's reference counting (`_nrt`): where a tuple of arrays is handed from
# function to function, that costs ten times the work itself.
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "_nrt": False}


def kernel(function: _F) -> _F:
    """Compile a function to machine code that runs without the GIL; with `NUMBA_DISABLE_JIT=1` it stays as it is.

    numba picks the cache's place when a function is decorated, from a setting of the whole process: it is ours for just that
    moment, so that other users of numba in the process keep theirs.
    """
    theirs, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_used_dir())
    try:
        compiled: _F = numba.njit(function, cache=JIT and _used_dir().is_dir(), **_OPTIONS)
    finally:
        numba.config.CACHE_DIR = theirs
    return compiled


def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Generate what `prefetch` does, as numba's intrinsics are given."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        address = builder.bitcast(builder.gep(data, [values[1]]), _BYTES)
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT])
        function: Any = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        builder.call(function, [address, _INT(0), _INT(3), _INT(1)])  # to read, into every cache, data
        return context.get_dummy_value()

    return numba.types.void(array, index), generate


prefetch: Any = numba.extending.intrinsic(_prefetch) if JIT else lambda array, index: None
"""Ask the cache for `array[index]` (of one dimension), without waiting; a wrong index does no harm. Plain Python knows no cache."""


def inline(function: _F) -> _F:
    """Compile a small function into the kernels that call it, always in place; it is cached as a part of them."""
    compiled: _F = numba.njit(function, forceinline=True, **_OPTIONS)
    return compiled


@inline
def nth(index: Any) -> Any:
    """Give an index, which is not negative, as an unsigned one.

    Of a signed index numba asks at every access whether it counts from the end: a third of what the book's kernel did.
    """
    return np.uint64(index)
