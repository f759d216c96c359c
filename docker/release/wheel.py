"""Build the package's wheel from the commit that is checked out, the same bytes wherever it is built.

    wheel.py [OUT]     # a folder; dist if none is named

What is built is what the commit has, not what lies in the folder; the time in it is the commit's. It needs no network and runs with
.venv, as `make dist` does: `.venv/bin/python docker/release/wheel.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_LIMIT_S = 120.0


def build(out: Path) -> Path:
    """Build the wheel of the repository in the current folder; gives its path."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive.tar")
        output_of("git", "archive", f"--output={archive}", "HEAD")
        source = Path(folder, "source")
        source.mkdir()
        output_of("tar", "-xf", str(archive), "-C", str(source))
        environment = os.environ | {"SOURCE_DATE_EPOCH": output_of("git", "log", "-1", "--format=%ct").decode().strip()}
        made = Path(folder, "dist")
        output_of(sys.executable, "-m", "flit_core.wheel", "--outdir", str(made), str(source), environment=environment)
        (wheel,) = made.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        part = out / f"{wheel.name}.part"
        part.write_bytes(wheel.read_bytes())
        return part.replace(out / wheel.name)


def output_of(*command: str, environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"wheel.py: {' '.join(command[:3])}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
