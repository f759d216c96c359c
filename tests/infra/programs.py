"""The tools in .tools/infra, run so that they reach nothing outside, and what of the repository they look at."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools" / "infra"
TERRAFORM: Final = ROOT / "docker" / "terraform"
WORKFLOWS: Final = ROOT / ".github" / "workflows"
ENVIRONMENTS: Final = ("dev", "staging", "prod")

# Nobody listens at port 9: a tool that calls out anyway fails at once.
NOWHERE: Final = "http://127.0.0.1:9"
OURS: Final = ("AWS_", "GH_", "GITHUB_", "MBO_", "PYTHON", "TF_")
OFFLINE: Final = {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
    "PYTHONDONTWRITEBYTECODE": "1",
}


def tool(name: str) -> str:
    """Find what `make infra-test` installs; without it the test is skipped, or fails if MBO_REQUIRE has "infra"."""
    path = TOOLS / name
    if path.exists():
        return str(path)
    missing = f"there is no {path.relative_to(ROOT)}: `make infra-test` installs it"
    if "infra" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
    pytest.skip(missing)


def run(
    *command: str | Path, cwd: Path = ROOT, limit_s: float = 100, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command offline, with these variables beside the usual ones; whoever asks looks at its exit code."""
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=OFFLINE | variables, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=limit_s, check=False,
    )  # fmt: skip


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Give what a command printed, for the message of a failed test."""
    return f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


def replace(path: Path, old: str, new: str) -> None:
    """Plant something: the old text has to be there, once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
