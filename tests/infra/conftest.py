"""Terraform with its provider, and copies of what it reads."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.infra.programs import ROOT, TERRAFORM, run, said, tool


class Terraform(NamedTuple):
    """Runs Terraform with the providers of a mirror, and with nothing from anywhere else."""

    python: str
    settings: Path
    provider: str

    def __call__(self, *arguments: str, cwd: Path, limit_s: float = 100) -> subprocess.CompletedProcess[str]:
        """Run it in a folder."""
        program = ROOT / "tests" / "tools" / "terraform.py"
        return run(
            self.python, program, *arguments, cwd=cwd, limit_s=limit_s,
            TF_CLI_CONFIG_FILE=str(self.settings), TF_IN_AUTOMATION="1", TF_CLI_ARGS="-no-color",
        )  # fmt: skip


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    python, folder = tool("bin/python"), tmp_path_factory.mktemp("terraform")
    laid_out = run(python, ROOT / "tests" / "tools" / "terraform.py", "--mirror", folder)
    assert laid_out.returncode == 0, said(laid_out)
    settings = folder / "settings.tfrc"
    settings.write_text(
        f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = "{folder}"\n  }}\n}}\n'
    )
    return Terraform(python, settings, laid_out.stdout.strip())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of docker/terraform that a test may spoil."""
    return copy(tmp_path / "terraform")


def copy(to: Path) -> Path:
    return Path(shutil.copytree(TERRAFORM, to, ignore=shutil.ignore_patterns(".terraform*", "*.tfvars", "backend.hcl")))
