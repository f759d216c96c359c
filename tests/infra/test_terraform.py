"""The files of docker/terraform: formatted, valid, and as the module's own tests want them, each with a defect that is found."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.infra import values
from tests.infra.conftest import Terraform
from tests.infra.programs import ENVIRONMENTS, TERRAFORM, WORKFLOWS, replace, said

pytestmark = pytest.mark.infra

HERE = Path(__file__).parent
LOCAL = 'terraform {\n  backend "local" {}\n}\n'
PLANTED = {
    "a root that can be written to": ("services.tf", "readonlyRootFilesystem = true", "readonlyRootFilesystem = false"),
    "a task with a public address": ("services.tf", "assign_public_ip = false", "assign_public_ip = true"),
    "the API's keys for everybody": (
        "services.tf",
        'settings = {}\n      secrets  = { MBO_GATEWAY_KEY = var.gateway_key_secret_arn }',
        'settings = {}\n      secrets  = { MBO_GATEWAY_KEY = var.gateway_key_secret_arn, MBO_API_KEYS = var.api_keys_secret_arn }',
    ),
    "a role that reads all secrets": ("roles.tf", "resources = values(each.value.secrets)", 'resources = ["*"]'),
    "an image by its tag": ("variables.tf", "@sha256:[0-9a-f]{64}$", "[@:].+$"),
}  # fmt: skip


def test_files_are_formatted(terraform: Terraform, tree: Path):
    done = terraform("fmt", "-check", "-recursive", cwd=TERRAFORM)
    assert done.returncode == 0, said(done)
    assert len(list(TERRAFORM.rglob("*.tf"))) > 15  # of nothing it would say that it is formatted
    replace(tree / "module" / "outputs.tf", "  value       = var.image", "  value = var.image")
    spoilt = terraform("fmt", "-check", "-recursive", cwd=tree)
    assert spoilt.returncode != 0
    assert "outputs.tf" in spoilt.stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_root_is_valid(terraform: Terraform, tree: Path, environment: str):
    root = tree / environment
    done = terraform("init", "-backend=false", "-input=false", cwd=root)
    assert done.returncode == 0, said(done)
    assert f"hashicorp/aws v{terraform.provider}" in done.stdout
    done = terraform("validate", cwd=root)
    assert done.returncode == 0, said(done)
    replace(root / "main.tf", "store_cidrs = var.store_cidrs", "store_cidr = var.store_cidrs")
    assert "store_cidr" in terraform("validate", cwd=root).stderr


def test_module_passes_its_tests(terraform: Terraform, tree: Path):
    done = outcome(terraform, tree)
    assert done.returncode == 0, said(done)
    assert re.search(r"Success! \d{2,} passed, 0 failed\.", done.stdout), said(done)


@pytest.mark.parametrize("planted", PLANTED)
def test_module_with_a_defect_does_not(terraform: Terraform, tree: Path, planted: str):
    file, old, new = PLANTED[planted]
    replace(tree / "module" / file, old, new)
    done = outcome(terraform, tree)
    assert done.returncode == 1, said(done)
    assert re.search(r"Failure! \d+ passed, [1-9]\d* failed", done.stdout), said(done)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_missing_is_named(terraform: Terraform, tree: Path, environment: str):
    root = tree / environment
    (root / "local_override.tf").write_text(LOCAL)
    done = terraform("init", "-input=false", cwd=root)
    assert done.returncode == 0, said(done)
    done = terraform("plan", "-input=false", cwd=root)
    assert done.returncode == 1, said(done)
    named = set(re.findall(r'The root module input variable "(\w+)" is not set', done.stderr))
    assert named == values.VALUES.keys()
    assert {"api_keys_secret_arn", "gateway_key_secret_arn", "store_password_secret_arn", "store"} <= named


def test_readme_says_what_it_was_checked_with(terraform: Terraform):
    readme = (TERRAFORM / "README.md").read_text()
    program = re.search(r"Terraform v([\d.]+)", terraform("version", cwd=TERRAFORM).stdout)
    assert program is not None
    locked = dict(re.findall(r"^(moto|checkov)==(\S+)", (HERE / "requirements.txt").read_text(), re.MULTILINE))
    tools = f"Terraform {program[1]}, the AWS provider {terraform.provider} (of 2021: no newer one was at hand), "
    assert tools + f"moto {locked['moto']} and checkov {locked['checkov']}" in " ".join(readme.split())
    assert f"terraform_version: {program[1]}\n" in (WORKFLOWS / "promote.yml").read_text()
    assert "deployed" not in readme.lower()  # nothing ever was


def outcome(terraform: Terraform, tree: Path) -> subprocess.CompletedProcess[str]:
    module = tree / "module"
    done = terraform("init", "-input=false", cwd=module)
    assert done.returncode == 0, said(done)
    return terraform("test", cwd=module)
