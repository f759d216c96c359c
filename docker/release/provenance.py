"""Say in a signed statement what a release was made of, and check such a statement.

    provenance.py key PRIVATE PUBLIC                         # a new pair of ed25519 keys, as PEM
    provenance.py sign --key PRIVATE --out FILE ARTEFACT...  # in a clean checkout
    provenance.py verify --key PUBLIC --statement FILE [--commit COMMIT] ARTEFACT...

The statement is SLSA provenance v1, in an in-toto statement v1, in a DSSE envelope: name and SHA-256 of every artefact, the commit
and the locks that it was made of, and who made it. There is no time in it: the same files and key give the same bytes.
It runs with the tools of tests/audit/requirements.txt: `.tools/audit/bin/python docker/release/provenance.py ...`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mbo-books:release:v1"
"""Described in docs/supply-chain.md."""
LOCAL = "urn:mbo-books:local"


class ProvenanceError(Exception):
    """It cannot be signed, or is not to be trusted; the text is one sentence for a person."""


# ---------------------------------------------------------------- signing


def make_keys(private: Path, public: Path) -> None:
    """Write a new pair; the private key can be read by its owner alone. A file that is there is an error."""
    signer = CryptoSigner.generate_ed25519()
    key = load_pem_private_key(signer.private_bytes, None)
    private.touch(mode=0o600, exist_ok=False)
    private.write_bytes(signer.private_bytes)
    with public.open("xb") as file:
        file.write(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def sign(artefacts: Sequence[Path], private: Path, locks: Sequence[Path], builder: str) -> bytes:
    """Make the envelope, as JSON. The commit is that of the folder where this runs, which has to be clean."""
    key = load_pem_private_key(private.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ProvenanceError(f"{private} is no ed25519 key")
    subjects = {path.name: sha256(path) for path in artefacts}
    if len(subjects) != len(artefacts):
        raise ProvenanceError("two artefacts have one name")
    statement = Statement(
        [ResourceDescriptor(name=name, digest={"sha256": digest}).pb for name, digest in sorted(subjects.items())],
        PREDICATE_TYPE,
        predicate(clean_commit(), locks, builder),
    )
    statement.validate()
    text = json.dumps(MessageToDict(statement.pb), sort_keys=True, separators=(",", ":"))
    envelope = Envelope(text.encode(), PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key, SSlibKey.from_crypto(key.public_key())))
    return json.dumps(envelope.to_dict(), sort_keys=True).encode() + b"\n"


def predicate(commit: str, locks: Sequence[Path], builder: str) -> dict[str, Any]:
    """Say what it was made of and by whom, in SLSA's words."""
    made_of = [{"uri": "urn:mbo-books:source", "digest": {"gitCommit": commit}}]
    made_of += [{"uri": f"urn:mbo-books:file:{path.as_posix()}", "digest": {"sha256": sha256(path)}} for path in locks]
    run = {"invocationId": os.environ["GITHUB_RUN_ID"]} if "GITHUB_RUN_ID" in os.environ else {}
    words = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"commit": commit},
            "resolvedDependencies": made_of,
        },
        "runDetails": {"builder": {"id": builder}, "metadata": run},
    }
    ParseDict(words, Provenance())  # refuses what SLSA does not know
    return words


def clean_commit() -> str:
    """Give the commit that is checked out; changes that are not in it are an error, ignored files are not."""
    if changed := git("status", "--porcelain"):
        raise ProvenanceError(f"there are changes that are in no commit: {', '.join(changed.splitlines()[:5])}")
    return git("rev-parse", "HEAD")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ProvenanceError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- verifying


def verify(envelope: bytes, artefacts: Sequence[Path], public: Path, commit: str | None) -> str:
    """Check signature, form and every artefact; gives the commit. Nothing of the statement is read before its signature holds."""
    key = load_pem_public_key(public.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise ProvenanceError(f"{public} is no ed25519 key")
    try:
        opened = Envelope.from_dict(json.loads(envelope))
    except (KeyError, TypeError, ValueError) as error:
        raise ProvenanceError(f"this is no DSSE envelope: {error}") from error
    try:
        opened.verify([SSlibKey.from_crypto(key)], 1)
    except VerificationError as error:
        raise ProvenanceError("the signature is not that of this key over this statement") from error
    if opened.payload_type != PAYLOAD_TYPE:
        raise ProvenanceError(f"{opened.payload_type} is signed, not an in-toto statement")
    statement, made = parsed(opened.payload)
    digests = {subject.name: dict(subject.digest) for subject in statement.subject}
    for path in artefacts:
        if path.name not in digests:
            raise ProvenanceError(f"the statement does not speak of {path.name}")
        if digests[path.name] != {"sha256": sha256(path)}:
            raise ProvenanceError(f"{path.name} is not the file that was signed")
    said = [dict(part.digest).get("gitCommit", "") for part in made.build_definition.resolved_dependencies]
    found = next(filter(None, said), "")
    if not found or commit not in (None, found):
        raise ProvenanceError(f"made from commit {found or 'unknown'}" + (f", not from {commit}" if commit else ""))
    return found


def parsed(payload: bytes) -> tuple[StatementMessage, Provenance]:
    """Read a statement, and the provenance in it."""
    try:
        words = json.loads(payload)
        # Fields that a later version adds are passed over, as in-toto asks.
        statement = ParseDict(words, StatementMessage(), ignore_unknown_fields=True)
        made = ParseDict(words.get("predicate", {}), Provenance(), ignore_unknown_fields=True)
    except (AttributeError, ValueError, ParseError) as error:
        raise ProvenanceError(f"this is no in-toto statement with provenance: {error}") from error
    for what, is_, wanted in (
        ("a statement", statement.type, STATEMENT_TYPE_URI),
        ("a predicate", statement.predicate_type, PREDICATE_TYPE),
        ("a build", made.build_definition.build_type, BUILD_TYPE),
    ):
        if is_ != wanted:
            raise ProvenanceError(f"{what} of type {is_ or 'none'}, not {wanted}")
    return statement, made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    new = verbs.add_parser("key")
    new.add_argument("private", type=Path)
    new.add_argument("public", type=Path)
    signing = verbs.add_parser("sign")
    signing.add_argument("--key", type=Path, required=True)
    signing.add_argument("--out", type=Path, required=True)
    signing.add_argument(
        "--lock", type=Path, action="append", help="what it was made of; requirements.lock if none is named"
    )
    signing.add_argument("--builder", default=LOCAL, help="a URI that names who makes it")
    checking = verbs.add_parser("verify")
    checking.add_argument("--key", type=Path, required=True)
    checking.add_argument("--statement", type=Path, required=True)
    checking.add_argument("--commit", help="the commit that it has to be made from")
    for each in (signing, checking):
        each.add_argument("artefacts", type=Path, nargs="+")
    asked = parser.parse_args()
    try:
        print(run(asked))
    except (ProvenanceError, OSError, ValueError) as error:
        print(f"provenance.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def run(asked: argparse.Namespace) -> str:
    """Do what was asked; gives what to say about it."""
    if asked.verb == "key":
        make_keys(asked.private, asked.public)
        return f"{asked.private} signs, {asked.public} verifies"
    names = ", ".join(path.name for path in asked.artefacts)
    if asked.verb == "verify":
        commit = verify(asked.statement.read_bytes(), asked.artefacts, asked.key, asked.commit)
        return f"verified: {names}, made from commit {commit}"
    made = sign(asked.artefacts, asked.key, asked.lock or [Path("requirements.lock")], asked.builder)
    part = asked.out.with_name(asked.out.name + ".part")
    part.write_bytes(made)
    part.replace(asked.out)
    return f"{asked.out}: signed for {names}"


if __name__ == "__main__":
    sys.exit(main())
