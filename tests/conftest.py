"""What every test may rely on: repeatable property tests, and the real files where there are any."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

collect_ignore = [
    "infra/account.py",
    "tools/terraform.py",
]  # programs of .tools/infra, with what is installed there alone

hypothesis.settings.register_profile(
    "mbo",
    derandomize=True,  # the same examples on every machine: a red run is red again
    deadline=None,  # the first example may compile kernels
    max_examples=100,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("mbo")


def real(name: str) -> Path:
    """Find a real file below the folder named by MBO_DATA; without it the test is skipped, or fails if MBO_REQUIRE has "data"."""
    folder = os.environ.get("MBO_DATA")
    if folder and (path := Path(folder, name)).exists():
        return path
    missing = f"{folder} has no {name}" if folder else f"MBO_DATA does not name the folder with the real file {name}"
    if "data" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
    pytest.skip(missing)


@pytest.fixture
def call(capsys, monkeypatch):
    """Call `mbo` in this process; gives (exit code, standard output, standard error)."""

    from mbo import cli

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mbo", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call
