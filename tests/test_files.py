"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mbo.files import replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_file_and_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "out.json"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["out.json"]


def test_file_is_as_readable_as_any_other(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with replacing(str(tmp_path / "out")):
        pass
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_nothing_is_left_of_a_failure(tmp_path, old, error):
    path = tmp_path / "out"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(type(error)), replacing(path) as file:  # noqa: PT012
        file.write(b"half" * 100_000)
        raise error
    assert names(tmp_path) == ([] if old is None else ["out"])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_disk_that_is_full_at_the_end(tmp_path, monkeypatch, failing):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "out"
    path.write_bytes(b"old")
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[failing], full)
    with pytest.raises(OSError, match="No space left"), replacing(path) as file:
        file.write(b"new")
    assert names(tmp_path) == ["out"]
    assert path.read_bytes() == b"old"


SMALL_DISK = """
import os, resource, signal, sys
from mbo.files import replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # no write goes beyond: the kernel's own refusal
try:
    with replacing(sys.argv[1]) as file:
        for _ in range(100):
            file.write(b"x" * 1_000)
except OSError as error:
    print(error.strerror)
"""


def test_write_that_the_system_refuses(tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    ran = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(tmp_path / "out")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert ran.stdout.strip() == "File too large"
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == b"old"


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "out", tmp_path):
        with pytest.raises(OSError), replacing(path):  # noqa: PT011 - which one differs between systems
            pytest.fail("nothing is to be done before the place is known to be good")
    assert names(tmp_path) == ["file"]


def test_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/file")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"
    assert names(tmp_path / "there") == ["file"]


def test_device_is_written_to_not_replaced(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(fifo) as file:
        file.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert names(tmp_path) == ["fifo"]
