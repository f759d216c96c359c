"""A signed statement holds for the very artefacts, statement and key that it was made with, and for nothing else."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.audit.tools import ROOT, run, tool

SCRIPT = ROOT / "docker" / "release" / "provenance.py"

pytestmark = pytest.mark.audit


def provenance(*arguments: str | Path, cwd: Path = ROOT, ok: bool = True) -> str:
    """Run the script; gives what it says, which is one line whatever happens."""
    done = run(tool("python"), SCRIPT, *arguments, cwd=cwd, ok=ok)
    said = done.stdout if ok else done.stderr
    assert said.count("\n") == 1, said
    return said


class Signed(NamedTuple):
    """What a release has, in one folder."""

    repository: Path
    commit: str
    key: Path
    public: Path
    statement: Path
    artefact: Path

    def copied(self, folder: Path) -> "Signed":
        """The same in another folder, where it can be tampered with."""
        files = [shutil.copy(path, folder) for path in (self.key, self.public, self.statement, self.artefact)]
        return Signed(self.repository, self.commit, *map(Path, files))

    def verified(self, *options: str, ok: bool) -> str:
        return provenance("verify", "--key", self.public, "--statement", self.statement, *options, self.artefact, ok=ok)


@pytest.fixture(scope="module")
def signed(repository: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """The wheel, signed with a new key in a clean checkout."""
    folder = tmp_path_factory.mktemp("release")
    commit = run("git", "rev-parse", "HEAD", cwd=repository).stdout.strip()
    found = Signed(
        repository, commit, folder / "key", folder / "key.pub", folder / "wheel.dsse.json", folder / wheel.name
    )
    shutil.copy(wheel, found.artefact)
    provenance("key", found.key, found.public)
    provenance("sign", "--key", found.key, "--out", found.statement, found.artefact, cwd=repository)
    return found


def test_statement_holds_for_what_was_signed(signed: Signed) -> None:
    said = signed.verified("--commit", signed.commit, ok=True)
    assert said == f"verified: {signed.artefact.name}, made from commit {signed.commit}\n"


def test_statement_has_the_form_of_the_standards(signed: Signed) -> None:
    envelope = json.loads(signed.statement.read_text())
    assert envelope.keys() == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert len(base64.b64decode(envelope["signatures"][0]["sig"])) == 64  # bytes, of ed25519
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition["externalParameters"] == {"commit": signed.commit}
    assert [part["uri"] for part in definition["resolvedDependencies"]] == [
        "urn:mbo-books:source",
        "urn:mbo-books:file:requirements.lock",
    ]
    assert details["builder"]["id"] == "urn:mbo-books:local"


def test_private_key_is_its_owners(signed: Signed, tmp_path: Path) -> None:
    assert signed.key.stat().st_mode & 0o777 == 0o600
    before = signed.key.read_bytes()
    assert "File exists" in provenance("key", signed.key, tmp_path / "other.pub", ok=False)
    assert signed.key.read_bytes() == before


def test_statement_is_the_same_each_time(signed: Signed, tmp_path: Path) -> None:
    provenance("sign", "--key", signed.key, "--out", tmp_path / "again", signed.artefact, cwd=signed.repository)
    assert (tmp_path / "again").read_bytes() == signed.statement.read_bytes()


Json = dict[str, Any]


def in_payload(change: Callable[[Json], object]) -> Callable[[Json], None]:
    """A change of the statement inside an envelope."""

    def changed(envelope: Json) -> None:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return changed


def first_byte(envelope: Json) -> None:
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[0] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()


NOT_SIGNED = "the signature is not that of this key over this statement"
NO_ENVELOPE = "this is no DSSE envelope"
TAMPERING: dict[str, tuple[Callable[[Json], object], str]] = {
    "signature": (first_byte, NOT_SIGNED),
    "no signature": (lambda envelope: envelope["signatures"].clear(), NOT_SIGNED),
    "payload type": (lambda envelope: envelope.update(payloadType="application/json"), NOT_SIGNED),
    "digest": (in_payload(lambda it: it["subject"][0]["digest"].update(sha256="0" * 64)), NOT_SIGNED),
    "another subject": (
        in_payload(lambda it: it["subject"].append({"name": "a", "digest": {"sha256": "0" * 64}})),
        NOT_SIGNED,
    ),
    "commit": (
        in_payload(lambda it: it["predicate"]["buildDefinition"]["externalParameters"].update(commit="0" * 40)),
        NOT_SIGNED,
    ),
    "spaces": (in_payload(lambda it: None), NOT_SIGNED),  # the same statement, written otherwise
    "no payload": (lambda envelope: envelope.pop("payload"), NO_ENVELOPE),
    "no envelope": (lambda envelope: envelope.update(signatures=[{"sig": "%"}]), NO_ENVELOPE),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampered_envelope_is_refused(what: str, signed: Signed, tmp_path: Path) -> None:
    copy, (change, words) = signed.copied(tmp_path), TAMPERING[what]
    envelope = json.loads(copy.statement.read_text())
    change(envelope)
    copy.statement.write_text(json.dumps(envelope))
    assert words in copy.verified(ok=False)


def test_tampered_artefact_is_refused(signed: Signed, tmp_path: Path) -> None:
    copy = signed.copied(tmp_path)
    content = bytearray(copy.artefact.read_bytes())
    content[len(content) // 2] ^= 1
    copy.artefact.write_bytes(content)
    assert f"{copy.artefact.name} is not the file that was signed" in copy.verified(ok=False)


def test_artefact_of_another_name_is_refused(signed: Signed, tmp_path: Path) -> None:
    copy = signed.copied(tmp_path)
    other = copy._replace(artefact=copy.artefact.rename(tmp_path / "other.whl"))
    assert "the statement does not speak of other.whl" in other.verified(ok=False)


def test_another_key_is_refused(signed: Signed, tmp_path: Path) -> None:
    provenance("key", tmp_path / "key", tmp_path / "key.pub")
    assert NOT_SIGNED in signed._replace(public=tmp_path / "key.pub").verified(ok=False)


def test_another_commit_is_refused(signed: Signed) -> None:
    assert f"made from commit {signed.commit}, not from {'0' * 40}" in signed.verified("--commit", "0" * 40, ok=False)


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [
        (b"{}", "application/vnd.in-toto+json", "a statement of type none"),
        (b"no JSON", "application/vnd.in-toto+json", "no in-toto statement"),
        (b'{"_type": "https://in-toto.io/Statement/v1"}', "application/vnd.in-toto+json", "a predicate of type none"),
        (b'{"subject": 1}', "application/vnd.in-toto+json", "no in-toto statement"),
        (b"{}", "text/plain", "text/plain is signed, not an in-toto statement"),
    ],
)
def test_signature_alone_is_not_enough(payload: bytes, kind: str, words: str, signed: Signed, tmp_path: Path) -> None:
    """What the right key has signed, but is no provenance."""
    copy = signed.copied(tmp_path)
    code = f"""
import json, pathlib
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey
key = load_pem_private_key(pathlib.Path({str(copy.key)!r}).read_bytes(), None)
envelope = Envelope({payload!r}, {kind!r}, {{}})
envelope.sign(CryptoSigner(key, SSlibKey.from_crypto(key.public_key())))
pathlib.Path({str(copy.statement)!r}).write_text(json.dumps(envelope.to_dict()))
"""
    run(tool("python"), "-c", code)
    assert words in copy.verified(ok=False)


def test_changes_in_no_commit_are_not_signed(signed: Signed, tmp_path: Path) -> None:
    folder = shutil.copytree(signed.repository, tmp_path / "copy")
    (folder / "mbo" / "left_over.py").write_text("x = 1\n")
    out = tmp_path / "statement"
    said = provenance("sign", "--key", signed.key, "--out", out, signed.artefact, cwd=folder, ok=False)
    assert "changes that are in no commit: ?? mbo/left_over.py" in said
    assert not out.exists()
