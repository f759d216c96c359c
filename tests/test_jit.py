"""Compiled kernels are kept between runs, and never outlive the source they were made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import mbo
from mbo import _jit

# A kernel that calls a function of another file: numba's own cache would not notice that the other file is edited.
CALLEE = "from mbo._jit import inline\n\n@inline\ndef step(x):\n    return x + 1\n"
CALLER = (
    "from mbo._jit import kernel\nfrom mbo._callee_kernels import step\n\n@kernel\ndef probe(x):\n    return step(x)\n"
)
PROBE = """
from mbo import _jit, _probe_kernels
print(_probe_kernels.probe(1), _jit.cache_dir().name, sum(_probe_kernels.probe.stats.cache_hits.values()), _jit.kept())
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package with a kernel more, so that its sources can be edited."""
    copy = tmp_path / "mbo"
    shutil.copytree(Path(mbo.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "data"))
    (copy / "_callee_kernels.py").write_text(CALLEE)
    (copy / "_probe_kernels.py").write_text(CALLER)
    return tmp_path


def run(folder: Path, **environment: str) -> list[str]:
    variables = {**os.environ, "MBO_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(folder), **environment}
    variables.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_run_finds_the_compiled_kernel(package):
    first, second = run(package), run(package)
    assert first[0] == second[0] == "2"
    assert (first[2], second[2]) == ("0", "1")
    assert first[1] == second[1]


def test_an_edited_callee_in_another_file_is_noticed(package):
    first = run(package)
    (package / "mbo" / "_callee_kernels.py").write_text(CALLEE.replace("x + 1", "x + 7"))
    edited = run(package)
    assert (first[0], edited[0]) == ("2", "8")
    assert edited[1] != first[1]


def test_bounds_checked_kernels_are_kept_apart(package):
    assert run(package)[1] != run(package, NUMBA_BOUNDSCHECK="1")[1]


def test_where_the_cache_cannot_be_written_kernels_work_all_the_same(package):
    (package / "file").write_text("")
    found = run(package, MBO_CACHE_DIR=str(package / "file" / "cache"))
    assert (found[0], found[3]) == ("2", "False")


@pytest.mark.skipif(os.geteuid() != 0, reason="a read-only mount needs root")
def test_a_filled_cache_that_is_read_only_is_used(package):
    first = run(package)
    cache = package / "cache"
    subprocess.run(["mount", "--bind", cache, cache], check=False)
    if subprocess.run(["mount", "-o", "remount,ro,bind", cache], capture_output=True, check=False).returncode:
        pytest.skip("no mounts here")
    try:
        found = run(package)
    finally:
        subprocess.run(["umount", cache], check=True)
    assert (found[0], found[1]) == (first[0], first[1])
    assert (found[2], found[3]) == ("1", "False")


def test_without_a_home_kernels_work(package, monkeypatch):
    monkeypatch.setattr(_jit.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("MBO_CACHE_DIR", raising=False)
    assert _jit._root().name == f"mbo-{os.getuid()}"


def test_other_users_of_numba_keep_their_own_cache():
    import numba

    assert str(numba.config.CACHE_DIR) != str(_jit.cache_dir())


def test_compiling_is_announced_on_a_terminal_only(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(_jit, "JIT", True)
    monkeypatch.setattr(_jit, "cache_dir", lambda: tmp_path)
    _jit.announce.cache_clear()
    _jit.announce("apply")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _jit.announce.cache_clear()
    _jit.announce("apply")
    _jit.announce("apply")
    assert capsys.readouterr().err.count("compiling its kernels") == 1
    (tmp_path / "_kernels.apply-1.py311.1.nbc").write_text("")
    _jit.announce.cache_clear()
    _jit.announce("apply")
    assert capsys.readouterr().err == ""
    _jit.announce.cache_clear()


@pytest.mark.skipif(not _jit.JIT, reason="the kernels are not compiled")
def test_reading_ahead_asks_the_cache():
    kernel = numba.njit(lambda array: _jit.prefetch(array, 5))
    kernel(np.arange(10))
    assert any("prefetch" in assembly for assembly in kernel.inspect_asm().values())
