"""The bills of materials of package and image: complete, the same bytes each time, and what the standard's schema takes."""

import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

import mbo
from tests.audit.tools import ROOT, Pin, locks, pins, run, tool

SCRIPT = ROOT / "docker" / "release" / "sbom.py"
LOCK = ROOT / "requirements.lock"
SITE = "opt/mbo/lib/python3.11/site-packages"

pytestmark = pytest.mark.audit


def bill(kind: str, *arguments: str | Path, **variables: str) -> dict[str, Any]:
    """Have the script write a bill, and read it."""
    out = next(Path(part) for part in arguments if str(part).endswith(".cdx.json"))
    run(tool("python"), SCRIPT, kind, *arguments, **variables)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def components(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(canonicalize_name(each["name"]), each["version"]) for each in document["components"]}


def hashes(component: dict[str, Any]) -> set[str]:
    return {
        f"--hash=sha256:{one['content']}"
        for reference in component.get("externalReferences", [])
        for one in reference.get("hashes", [])
        if one["alg"] == "SHA-256"
    }


# ---------------------------------------------------------------- of the package


def missing(document: dict[str, Any], locked: list[Pin]) -> list[str]:
    """What a lock has and a bill has not, or not with all its hashes; and the other way round."""
    listed = {(canonicalize_name(each["name"]), each["version"]): hashes(each) for each in document["components"]}
    wanted = {(pin.name, pin.version): set(pin.hashes) for pin in locked}
    return [" ".join(key) for key in sorted(wanted.keys() | listed.keys()) if wanted.get(key) != listed.get(key)]


@pytest.fixture(scope="module")
def package_bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bill") / "package.cdx.json"
    bill("package", out, TZ="Asia/Tokyo", PYTHONHASHSEED="1")
    return out


def test_package_bill_is_the_lock_with_its_hashes(package_bill: Path) -> None:
    document = json.loads(package_bill.read_text())
    assert missing(document, locks()["requirements.lock"]) == []
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    subject = document["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("mbo-books", mbo.__version__)
    needs = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert any(ref.startswith("pkg:pypi/numpy@") for ref in needs[subject["bom-ref"]])
    assert not any(ref.startswith("pkg:pypi/llvmlite@") for ref in needs[subject["bom-ref"]])  # numba asks for it
    assert str(ROOT) not in json.dumps(document)


def test_package_bill_is_the_same_each_time(package_bill: Path, tmp_path: Path) -> None:
    bill("package", tmp_path / "b.cdx.json", PYTHONHASHSEED="2")
    assert (tmp_path / "b.cdx.json").read_bytes() == package_bill.read_bytes()


def test_package_bill_of_less_or_other_is_seen(package_bill: Path, tmp_path: Path) -> None:
    locked = locks()["requirements.lock"]
    version = next(pin.version for pin in locked if pin.name == "typer")
    text = re.sub(r"(?m)^numpy==.*\n(?:    --hash=.*\n)+", "", LOCK.read_text())
    text = re.sub(r"(?m)^(rich==.*\n)    --hash=.*\n", r"\1", re.sub(r"(?m)^typer==\S+", "typer==0.1", text))
    other = tmp_path / "requirements.lock"
    other.write_text(text)
    faults = missing(bill("package", tmp_path / "a.cdx.json", "--lock", other), locked)
    assert [fault.split()[0] for fault in faults] == ["numpy", "rich", "typer", "typer"]
    assert {f"typer {version}", "typer 0.1"} < set(faults)
    assert (tmp_path / "a.cdx.json").read_bytes() != package_bill.read_bytes()


def test_what_is_no_bill_is_not_written(tmp_path: Path) -> None:
    """The validator has to refuse something, or it would be no check."""
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import sbom, pathlib\n"
        "sbom.write({'bomFormat': 'CycloneDX', 'specVersion': '1.6', 'components': [{'name': 'a', 'kind': 'b'}]},"
        f" pathlib.Path({str(tmp_path / 'a.cdx.json')!r}))"
    )
    assert "would not be CycloneDX 1.6" in run(tool("python"), "-c", code, ok=False).stderr
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- of an image


def tarred(files: dict[str, bytes]) -> bytes:
    """Pack files, and folders (whose names end with /), with nothing of this machine or moment."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def image(folder: Path, packages: dict[str, str], *, oci: bool = False) -> Path:
    """Make an image of one layer, as `docker save` or OCI has it: Debian with one of its packages, and Python packages."""
    layer = {
        "etc/os-release": b'ID=debian\nVERSION_ID="12"\nNAME="Debian GNU/Linux"\n',
        "var/lib/dpkg/status": b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n",
    }
    for name, version in packages.items():
        info = f"{SITE}/{name.replace('-', '_')}-{version}.dist-info"
        layer[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        layer[f"{info}/RECORD"] = b""
    packed = tarred(layer)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {},
         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(packed).hexdigest()}"]}}
    ).encode()  # fmt: skip
    archive = folder / "image.tar"
    if oci:
        archive.write_bytes(tarred(oci_layout(config, packed)))
        return archive
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": ["mbo:test"], "Layers": ["layer/layer.tar"]}]).encode()
    archive.write_bytes(tarred({name: config, "layer/layer.tar": packed, "manifest.json": manifest}))
    return archive


def oci_layout(config: bytes, layer: bytes) -> dict[str, bytes]:
    """The files of an OCI archive: an index, which names a manifest, which names configuration and layer, all by their hashes."""
    blobs: dict[str, bytes] = {"blobs/": b"", "blobs/sha256/": b""}

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    parts = {"config": blob("config.v1+json", config), "layers": [blob("layer.v1.tar", layer)]}
    manifest = blob("manifest.v1+json", json.dumps({"schemaVersion": 2, **parts}).encode())
    index = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    return {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index, **blobs}


PACKAGES = {"mbo-books": "0.1.0", "numpy": "2.3.0", "prometheus-client": "0.25.0"}


@pytest.mark.parametrize("oci", [False, True], ids=["docker", "oci"])
def test_image_bill_has_what_is_installed(oci: bool, tmp_path: Path) -> None:
    document = bill("image", image(tmp_path, PACKAGES, oci=oci), tmp_path / "a.cdx.json")
    assert components(document) == {*PACKAGES.items(), ("libc6", "2.36-9"), ("debian", "12")}
    assert document["metadata"]["component"]["type"] == "container"
    assert str(tmp_path) not in json.dumps(document)


def test_image_bill_without_a_component_is_seen(tmp_path: Path) -> None:
    less = {name: version for name, version in PACKAGES.items() if name != "numpy"}
    listed = components(bill("image", image(tmp_path, less), tmp_path / "a.cdx.json"))
    assert set(PACKAGES.items()) - listed == {("numpy", "2.3.0")}


def test_image_bill_is_the_same_each_time(tmp_path: Path) -> None:
    archive = image(tmp_path, PACKAGES)
    first, second = bill("image", archive, tmp_path / "a.cdx.json"), bill("image", archive, tmp_path / "b.cdx.json")
    assert first == second
    assert "timestamp" not in first["metadata"]
    assert (tmp_path / "a.cdx.json").read_bytes() == (tmp_path / "b.cdx.json").read_bytes()
    dated = bill("image", archive, tmp_path / "c.cdx.json", SOURCE_DATE_EPOCH="1767225600")
    assert dated["metadata"].pop("timestamp") == "2026-01-01T00:00:00+00:00"
    assert dated == first


@pytest.mark.parametrize(
    "content", [None, b"", tarred({"a": b""}), tarred({"manifest.json": b"[]"})], ids=["none", "empty", "other", "bare"]
)
def test_archive_that_is_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    if content is not None:
        archive.write_bytes(content)
    said = run(tool("python"), SCRIPT, "image", archive, tmp_path / "a.cdx.json", ok=False).stderr
    assert said.startswith("sbom.py: ")
    assert "Traceback" not in said
    assert not (tmp_path / "a.cdx.json").exists()


def test_image_of_the_stack_has_its_lock_and_nothing_else(tmp_path: Path) -> None:
    """The image itself, where MBO_TEST_IMAGE_TAR names what `docker save` wrote of it."""
    archive = os.environ.get("MBO_TEST_IMAGE_TAR")
    if not archive:
        pytest.skip("MBO_TEST_IMAGE_TAR does not name an image (docker save mbo:0.1.0 -o image.tar)")
    document = bill("image", archive, tmp_path / "a.cdx.json")
    python, carried = set(), set()
    for each in document["components"]:
        paths = [one["value"] for one in each.get("properties", ()) if one["name"].endswith(":path")]
        if each.get("purl", "").startswith("pkg:pypi/") and any(SITE in path for path in paths):
            inside = all("/_vendor/" in path for path in paths)  # a package of a package's own
            (carried if inside else python).add((canonicalize_name(each["name"]), each["version"]))
    text = (ROOT / "docker" / "requirements-runtime.txt").read_text()
    wanted = {(pin.name, pin.version) for pin in pins(text) if isinstance(pin, Pin)} | {("mbo-books", mbo.__version__)}
    assert python == wanted
    assert carried == {("html5lib", "1.1")}  # bleach's
    assert any(each.get("purl", "").startswith("pkg:deb/debian/libc6@") for each in document["components"])
