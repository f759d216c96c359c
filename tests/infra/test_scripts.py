"""What the workflows' scripts do, and in which order, seen by stand-ins for the programs that they call; and what they refuse."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.infra.programs import ROOT, run, said

pytestmark = pytest.mark.infra

SCRIPTS = ROOT / ".github" / "scripts"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
TARGET = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mbo"
STAND_IN = """\
#!/bin/sh
name=$(basename "$0")
case $name in docker) shift_in=$(cat) ;; esac
echo "$name $*" >>"$CALLS"
case "$name $1" in
"gh api") echo "$RULES" ;;
"skopeo copy") echo "$DIGEST" >digest ;;
"aws ecr") [ "$2" = wait ] || echo password ;;
esac
case "$name $1 $2" in "$FAILS"*) exit 1 ;; esac
case "$name $1 $2" in "cosign verify $REPOSITORY"*) [ "$HAS" = yes ] || grep -q "^cosign copy" "$CALLS" || exit 1 ;; esac
"""


class Called(dict[str, str]):
    """Runs a script with stand-ins first on its PATH, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        bin_ = folder / "bin"
        bin_.mkdir()
        for name in ("aws", "cosign", "docker", "gh", "make", "python", "skopeo", "terraform"):
            (bin_ / name).write_text(STAND_IN)
            (bin_ / name).chmod(0o755)
        for environment in ("dev", "staging", "prod"):
            (folder / "docker" / "terraform" / environment).mkdir(parents=True)
        self.folder, self.log = folder, folder / "calls"
        super().__init__(
            PATH=f"{bin_}:{os.environ['PATH']}", CALLS=str(self.log), GITHUB_OUTPUT=str(folder / "output"),
            RULES="wait_timer\nrequired_reviewers", FAILS="-", HAS="no", DIGEST=DIGEST,
            GITHUB_REPOSITORY="Some/Books", GITHUB_ACTOR="me",
            GH_TOKEN="secret-token", REGISTRY_TOKEN="secret-token", REPOSITORY=TARGET,
            BACKEND='bucket = "states"', TFVARS='a = "b"',
        )  # fmt: skip

    def __call__(self, script: str, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return run(SCRIPTS / script, *arguments, cwd=self.folder, **(self | changed))

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def called(tmp_path: Path) -> Called:
    return Called(tmp_path)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_promote_verifies_copies_plans_and_applies(called: Called, environment: str):
    done = called("promote.sh", environment, DIGEST)
    assert done.returncode == 0, said(done)
    calls = [call for call in called.calls if not call.startswith(("docker", "gh", "aws ecr get"))]
    root = f"-chdir=docker/terraform/{environment}"
    assert [call.split(" --")[0] for call in calls] == [
        f"cosign verify ghcr.io/some/books@{DIGEST}",
        f"cosign verify {TARGET}@{DIGEST}",
        f"cosign copy ghcr.io/some/books@{DIGEST} {TARGET}:{DIGEST.removeprefix('sha256:')}",
        f"cosign verify {TARGET}@{DIGEST}",
        f"terraform {root} init -input=false -backend-config=backend.hcl",
        f"terraform {root} plan -input=false -out=plan -var=image={TARGET}@{DIGEST}",
        f"terraform {root} apply -input=false plan",
        "aws ecs wait services-stable",
    ]
    assert r"^https://github\.com/Some/Books/\.github/workflows/release\.yml@refs/tags/v" in calls[0]
    assert (called.folder / "docker" / "terraform" / environment / "terraform.tfvars").read_text() == 'a = "b"\n'
    assert "secret-token" not in "".join(called.calls) + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "changed", "words"),
    [
        (("live", DIGEST), {}, "there is no environment live"),
        (("prod", "v1.2.3"), {}, "'v1.2.3' is no digest"),
        (("prod", DIGEST[:-1]), {}, "is no digest"),
        (("prod", DIGEST), {"RULES": "branch_policy"}, "nobody has to approve prod"),
        (("staging", DIGEST), {"RULES": ""}, "nobody has to approve staging"),
        (("prod", DIGEST), {"TFVARS": ""}, "the environment prod has no variable TFVARS"),
        (("prod", DIGEST), {"REPOSITORY": ""}, "the environment prod has no variable ECR_REPOSITORY"),
        (("dev", DIGEST), {"FAILS": "cosign verify ghcr"}, "no release signed"),
        (("dev", DIGEST), {"FAILS": "cosign verify 1234"}, "did not get"),
        (("prod", DIGEST), {"FAILS": "gh api"}, ""),
    ],
    ids=["name", "tag", "short", "no-reviewers", "no-rules", "no-values", "no-repository", "unsigned", "not-copied", "no-answer"],
)  # fmt: skip
def test_promote_refuses(called: Called, arguments: tuple[str, str], changed: dict[str, str], words: str):
    done = called("promote.sh", *arguments, **changed)
    assert done.returncode == 1, said(done)
    assert words in done.stderr
    assert [call for call in called.calls if call.startswith("terraform")] == []


def test_promote_copies_no_image_twice(called: Called):
    done = called("promote.sh", "prod", DIGEST, HAS="yes")
    assert done.returncode == 0, said(done)
    assert not [call for call in called.calls if call.startswith("cosign copy")]
    assert [call for call in called.calls if " apply " in call]


def test_promote_stops_when_the_plan_fails(called: Called):
    done = called("promote.sh", "dev", DIGEST, FAILS="terraform -chdir=docker/terraform/dev plan")
    assert done.returncode == 1
    assert not [call for call in called.calls if " apply " in call]


def test_push_signs_the_digest_that_was_pushed(called: Called):
    done = called("push.sh", "image.tar", "v1.2.3")
    assert done.returncode == 0, said(done)
    assert called.calls[1:] == [
        "skopeo copy --all --preserve-digests --digestfile digest oci-archive:image.tar docker://ghcr.io/some/books:v1.2.3",
        f"cosign sign --yes ghcr.io/some/books@{DIGEST}",
    ]
    assert (called.folder / "output").read_text() == f"name=ghcr.io/some/books\ndigest={DIGEST}\n"


@pytest.mark.parametrize(
    "changed", [{"DIGEST": ""}, {"FAILS": "cosign sign"}, {"FAILS": "skopeo copy"}], ids=["none", "sign", "push"]
)
def test_push_gives_no_digest_that_is_not_signed(called: Called, changed: dict[str, str]):
    assert called("push.sh", "image.tar", "v1.2.3", **changed).returncode == 1
    assert not (called.folder / "output").exists()


@pytest.mark.parametrize(("tag", "code"), [("v0.1.0", 0), ("v0.1.1", 1), ("0.1.0", 1)])
def test_tag_has_to_be_the_version(called: Called, tag: str, code: int):
    for python in (".venv", ".tools/audit"):
        program = called.folder / python / "bin" / "python"
        program.parent.mkdir(parents=True)
        program.symlink_to(called.folder / "bin" / "python")
    (called.folder / "dist").mkdir()
    (called.folder / "dist" / "mbo_books-0.1.0-py3-none-any.whl").touch()
    done = called("wheel.sh", tag)
    assert done.returncode == code, said(done)
    assert called.calls == [
        "make venv .tools/audit/installed",
        "python docker/release/wheel.py dist",
        "python docker/release/sbom.py package dist/mbo.cdx.json",
    ]
    assert ("does not fit" in done.stderr) == bool(code)


def test_image_is_built_with_its_papers(called: Called):
    assert called("image.sh", "image.tar").returncode == 0
    assert called.calls[-1] == (
        "docker buildx build --file docker/Dockerfile --sbom=true --provenance=mode=max --output type=oci,dest=image.tar ."
    )
