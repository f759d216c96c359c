"""Make the secrets of a stack: `python docker/image/make_secrets.py FOLDER` writes those that are missing, and changes none.

Random ones, from the operating system. A service gets each as a file of /run/secrets, bound by itself; it runs as a user of its
own, so the files may be read by all, and their folder, made with mode 700, by nobody but its owner. The API is given hashes of its
keys only, ClickHouse the hash of the password. It needs Python's standard library alone.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

PLAIN = ("gateway_key", "clickhouse_password", "api_key", "metrics_key", "grafana_password")
"""The gateway's key, the store's password, keys of the API for a person (control) and for Prometheus (read), Grafana's admin."""


def _keys(folder: Path) -> str:
    lines = []
    for name, role in (("api_key", "control"), ("metrics_key", "read")):
        digest = hashlib.sha256(_read(folder, name).encode()).hexdigest()
        lines.append(f"{name.removesuffix('_key')}:{role}:{digest}")
    return "\n".join(lines)


def _user(folder: Path) -> str:
    digest = hashlib.sha256(_read(folder, "clickhouse_password").encode()).hexdigest()
    return f"<clickhouse><mbo_password>{digest}</mbo_password></clickhouse>"


DERIVED: dict[str, Callable[[Path], str]] = {"api_keys": _keys, "clickhouse_user.xml": _user}
"""What the servers get in place of the secrets themselves."""


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n")
    part.chmod(0o444)
    part.replace(path)


def make(folder: Path) -> list[str]:
    """Make what is missing in a folder; gives the names of what was made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = [name for name in PLAIN if not (folder / name).exists()]
    for name in made:
        _write(folder / name, secrets.token_urlsafe(32))
    for name, text in DERIVED.items():
        if not (folder / name).exists():
            _write(folder / name, text(folder))
            made.append(name)
    return made


def main() -> int:
    """Make them, and say which."""
    if len(sys.argv) != 2:
        print("usage: python docker/image/make_secrets.py FOLDER", file=sys.stderr)
        return 2
    os.umask(0o022)
    made = make(Path(sys.argv[1]))
    print(f"made in {sys.argv[1]}: {', '.join(made)}" if made else f"nothing is missing in {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
