"""Write a software bill of materials (CycloneDX 1.6, JSON) of the package or of an image; the same input gives the same bytes.

    sbom.py package OUT [--lock requirements.lock]
    sbom.py image ARCHIVE OUT                      # what `docker save` writes, or an OCI archive

It runs with the tools of tests/audit/requirements.txt, as `make sbom` does: `.tools/audit/bin/python docker/release/sbom.py ...`.
There is no serial number, and no time unless SOURCE_DATE_EPOCH gives one. Nothing is written that the standard's schema refuses.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
_LIMIT_S = 600.0

Document = dict[str, Any]


class SbomError(Exception):
    """No bill can be written; the text is one sentence for a person."""


def of_package(lock: Path) -> Document:
    """List what a lock names, with the hash of every file that may be installed, below the package of pyproject.toml."""
    document = output_of("cyclonedx-py", "requirements", str(lock), "--pyproject", str(ROOT / "pyproject.toml"),
                         "--output-reproducible", "--sv", "1.6", "--of", "JSON", "--no-validate")  # fmt: skip
    components = document["components"]
    refs: dict[str, str] = {}
    for component in components:
        # The tool names a component by its line in the file, and repeats the line: both change when another package comes.
        component["bom-ref"] = component["purl"]
        component.pop("description")
        refs[canonicalize_name(component["name"])] = component["purl"]
    if len(refs) != len(components):
        raise SbomError(f"{lock} has a package twice")
    component = document["metadata"]["component"]
    component["version"] = version()  # pyproject.toml leaves it to the package
    component["bom-ref"] = component["purl"] = f"pkg:pypi/{component['name']}@{component['version']}"
    asked = sorted({refs[name] for name in direct() if name in refs})
    document["dependencies"] = [{"ref": component["purl"], "dependsOn": asked}]
    document["dependencies"] += [{"ref": ref} for ref in sorted(refs.values())]
    # Who needs what among the others is not in a lock, and the bill says so.
    document["compositions"] = [{"aggregate": "incomplete", "dependencies": sorted(refs.values())}]
    return document


def version() -> str:
    """Read the package's version without importing it."""
    for node in ast.parse((ROOT / "mbo" / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise SbomError("mbo/__init__.py does not say __version__")


def direct() -> set[str]:
    """Name what pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}


def of_image(archive: Path) -> Document:
    """List what is installed in an image: Debian's packages, Python's and what else Syft knows."""
    document = output_of("syft", "scan", f"{form(archive)}:{archive}", "--output", "cyclonedx-json@1.6",
                         "--source-name", "mbo", "--source-version", version())  # fmt: skip
    del document["serialNumber"], document["metadata"]["timestamp"]
    if not document.get("components"):
        raise SbomError(f"nothing is found in {archive}")
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        document["metadata"]["timestamp"] = datetime.fromtimestamp(int(epoch), UTC).isoformat()
    return document


def form(archive: Path) -> str:
    """Tell the form of an archive, in Syft's words. What `docker save` writes may be both."""
    try:
        with tarfile.open(archive) as packed:
            names = set(packed.getnames())
    except tarfile.TarError as error:
        raise SbomError(f"{archive} is no archive: {error}") from error
    for name, kind in (("manifest.json", "docker-archive"), ("oci-layout", "oci-archive")):
        if name in names:
            return kind
    raise SbomError(f"{archive} has no image in it")


def output_of(tool: str, *arguments: str) -> Document:
    """Run one of the tools and read the JSON that it prints."""
    command = [str(TOOLS / tool), *arguments]
    environment = os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
    )
    if done.returncode:
        words = re.sub(r"(\x1b\[[\d;]*m|\s)+", " ", done.stderr.decode(errors="replace"))
        raise SbomError(f"{tool} ended with code {done.returncode}: {words[-500:]}")
    found: Document = json.loads(done.stdout)
    return found


def write(document: Document, path: Path) -> None:
    """Hold a bill against the standard's schema and write it, whole or not at all."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SbomError(f"this would not be CycloneDX 1.6: {fault}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    package = kinds.add_parser("package")
    package.add_argument("out", type=Path)
    package.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    image = kinds.add_parser("image")
    image.add_argument("archive", type=Path)
    image.add_argument("out", type=Path)
    asked = parser.parse_args()
    try:
        document = of_package(asked.lock) if asked.kind == "package" else of_image(asked.archive)
        write(document, asked.out)
    except (SbomError, OSError) as error:
        print(f"sbom.py: {error}", file=sys.stderr)
        return 1
    print(f"{asked.out}: {len(document['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
