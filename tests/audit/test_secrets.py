"""No file and no commit has a secret in it; what looks like one and is none stands in accepted.toml with its reason."""

import base64
import json
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.audit.tools import ROOT, run, tool, tree

ACCEPTED = tomllib.loads((ROOT / "tests/audit/accepted.toml").read_text()).get("secret", [])
NO_SECRETS = (
    r'^ *(sha256|md5|linux-64|osx-arm64): "?[0-9a-f]{32}([0-9a-f]{32})?"?$',  # conda-lock.yml; the tool adds the quotes
    r"^    --hash=sha256:[0-9a-f]{64}( \\)?$",
    r'^ +"image/png": "iVBORw0KGgo[A-Za-z0-9+/=]+(\\n)?",?$',  # the pictures of a notebook
)
"""Lines of these very shapes, which have a hash or a picture and room for nothing else."""

pytestmark = pytest.mark.audit


class Found(NamedTuple):
    file: str
    kind: str
    hash: str


def scan(folder: Path, files: Iterable[str], without: Iterable[str] = ()) -> list[Found]:
    """What detect-secrets takes for a secret, on no other evidence than the text; `without` some of its detectors."""
    options = [part for pattern in NO_SECRETS for part in ("--exclude-lines", pattern)]
    options += [part for name in without for part in ("--disable-plugin", name)]
    answer = json.loads(run(tool("detect-secrets"), "scan", "--no-verify", *options, *files, cwd=folder).stdout)
    assert len(answer["plugins_used"]) > 20
    return [
        Found(file, one["type"], one["hashed_secret"][:8]) for file, found in answer["results"].items() for one in found
    ]


def faults(found: Iterable[Found], accepted: list[dict[str, str]]) -> Iterator[str]:
    """The findings that nobody has answered for, and the answers to nothing."""
    answers = {Found(each["file"], each["kind"], each["hash"]): each.get("reason", "").strip() for each in accepted}
    findings = set(found)
    yield from (f"{each.file}: {each.kind} {each.hash}" for each in sorted(findings - answers.keys()))
    yield from (f"{each.file}: answers nothing: {each.hash}" for each in sorted(answers.keys() - findings))
    yield from (f"{each.file}: no reason: {each.hash}" for each, reason in answers.items() if not reason)


def test_files_have_no_secret() -> None:
    found = list(faults(scan(ROOT, tree()), ACCEPTED))
    assert not found, "\n".join(found)


GUESSES = ("HexHighEntropyString", "Base64HighEntropyString", "KeywordDetector", "IPPublicDetector")
"""What goes by looks alone, and takes old digests and pictures for secrets. The others know the shapes of real keys."""


def scan_history(repository: Path, folder: Path) -> list[Found]:
    """What was a secret in a line that any commit ever brought."""
    lines = run("git", "log", "--all", "--patch", "--unified=0", "--no-color", "-m", cwd=repository).stdout.splitlines()
    added = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++ ")]
    (folder / "history.txt").write_text("\n".join([*added, ""]))
    return scan(folder, ["history.txt"], GUESSES)


def test_commits_have_no_secret(tmp_path: Path) -> None:
    known = {(each["kind"], each["hash"]) for each in ACCEPTED}
    found = [f"{each.kind} {each.hash}" for each in scan_history(ROOT, tmp_path) if (each.kind, each.hash) not in known]
    assert not found, "\n".join(found)


def planted() -> dict[str, str]:
    """Secrets of several kinds, made here and now: written out, this file would have them."""
    key = base64.b32encode(secrets.token_bytes(10)).decode()
    password = secrets.token_urlsafe(12)
    return {
        "AWS Access Key": f"AKIA{key}",
        "Private Key": f"-----BEGIN {'PRIVATE'} KEY-----\n{base64.b64encode(secrets.token_bytes(48)).decode()}",
        "Hex High Entropy String": f'value = "{secrets.token_hex(32)}"',
        "Base64 High Entropy String": f'value = "{base64.b64encode(secrets.token_bytes(48)).decode()}"',
        "Basic Auth Credentials": f"url = http://ann:{password}@db.internal:8123/mbo",
        "Secret Keyword": f'MBO_CLICKHOUSE_PASSWORD = "{password}"',
        "GitHub Token": f"ghp_{secrets.token_hex(18)}",
    }


@pytest.mark.parametrize("file", ["Makefile", "conda-lock.yml", "docker/prometheus/prometheus.yml", "mbo/auth.py"])
def test_planted_secrets_are_seen(file: str, tmp_path: Path) -> None:
    lines = (ROOT / file).read_text().splitlines()[:100]
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("\n".join([*lines, *planted().values(), ""]))
    assert planted().keys() <= {found.kind for found in scan(tmp_path, [file])}


def test_secret_that_was_taken_back_is_seen(tmp_path: Path) -> None:
    repository, folder = tmp_path / "repository", tmp_path / "found"
    repository.mkdir()
    folder.mkdir()
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    run("git", "init", "--quiet", cwd=repository)
    for text in (*planted().values(), ""):
        (repository / "notes.txt").write_text(f"{text}\n")
        run("git", "add", "--all", cwd=repository)
        run("git", *who, "commit", "--quiet", "--message=notes", cwd=repository)
    certain = {"AWS Access Key", "Private Key", "Basic Auth Credentials", "GitHub Token"}
    assert {found.kind for found in scan_history(repository, folder)} == certain


def test_lines_left_out_have_room_for_nothing_else() -> None:
    digest, picture = "ab" * 32, "iVBORw0KGgo" + "A" * 50
    shapes = [f"    sha256: {digest}", f"    --hash=sha256:{digest} \\", f'      "image/png": "{picture}\\n",']
    assert all(any(re.search(pattern, line) for pattern in NO_SECRETS) for line in shapes)
    others = [
        f"password: {digest}",
        f"    sha256: {digest} # {picture}",
        f'"token": "{picture}"',
        f"key --hash=sha256:{digest}",
    ]
    assert not any(re.search(pattern, line) for pattern in NO_SECRETS for line in others)


def test_answer_counts_for_its_finding_alone() -> None:
    found = Found("a.py", "Secret Keyword", "0123abcd")
    answer = {**found._asdict(), "reason": "A name."}
    assert list(faults([found], [answer])) == []
    assert list(faults([found], [])) == ["a.py: Secret Keyword 0123abcd"]
    assert list(faults([found, found._replace(hash="ffff0000")], [answer])) == ["a.py: Secret Keyword ffff0000"]
    assert list(faults([], [answer])) == ["a.py: answers nothing: 0123abcd"]
    assert list(faults([found], [answer | {"reason": " "}])) == ["a.py: no reason: 0123abcd"]
