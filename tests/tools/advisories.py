"""An advisory server on loopback: it answers pip-audit from a set of advisories in a file, as OSV would, and asks nobody.

The set is tests/audit/advisories.tar.xz; tests/audit/advisories.md says where it is from, and of which day. The query is that of
the OSV API, `POST /v1/query`, as far as pip-audit uses it: one package, one version.
"""

from __future__ import annotations

import json
import tarfile
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ADVISORIES: Final = Path(__file__).parents[1] / "audit" / "advisories.tar.xz"
# Reads every scalar as text: 2.10 stays the version 2.10, and a time is sent as it stands in the file.
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

Advisory = dict[str, Any]


class Advisories:
    """The advisories of a file, by package. Withdrawn ones are left out and counted."""

    def __init__(self, path: Path = ADVISORIES) -> None:
        self.of: dict[str, list[Advisory]] = defaultdict(list)
        self.count = self.withdrawn = 0
        self.latest = ""
        """When the youngest was last changed, RFC 3339."""
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".yaml") else None
                if file is not None:
                    self._add(_LOADER(file.read()).get_single_data())

    def _add(self, advisory: Advisory) -> None:
        if "withdrawn" in advisory:
            self.withdrawn += 1
            return
        self.count += 1
        self.latest = max(self.latest, advisory.get("modified", ""))
        packages = {part["package"]["name"] for part in advisory["affected"] if part["package"]["ecosystem"] == "PyPI"}
        for name in packages:
            self.of[canonicalize_name(name)].append(advisory)

    def about(self, name: str, version: str) -> list[Advisory]:
        """Give those that speak of one version of a package."""
        wanted, asked = canonicalize_name(name), Version(version)
        return [
            advisory
            for advisory in self.of.get(wanted, [])
            if any(
                canonicalize_name(part["package"]["name"]) == wanted and _speaks_of(part, asked)
                for part in advisory["affected"]
            )
        ]


def _speaks_of(part: dict[str, Any], asked: Version) -> bool:
    """Whether an `affected` entry has a version, in its list or in a range; a range that cannot be read is taken to have it."""
    try:
        listed = any(Version(version) == asked for version in part.get("versions", []) if _is_version(version))
        ranges = [each["events"] for each in part.get("ranges", []) if each["type"] == "ECOSYSTEM"]
        return listed or any(_inside(events, asked) for events in ranges)
    except InvalidVersion:
        return True


def _inside(events: list[dict[str, str]], asked: Version) -> bool:
    """Whether the last event up to a version leaves it affected; `fixed` begins at its version, `last_affected` behind it."""
    inside = False
    for kind, text in sorted(((*event.items(),)[0] for event in events), key=lambda event: Version(event[1])):
        at = Version(text)
        if kind == "introduced" and at <= asked:
            inside = True
        elif (kind == "fixed" and at <= asked) or (kind == "last_affected" and at < asked):
            inside = False
    return inside


def _is_version(text: str) -> bool:
    """Whether an installer could have it: lists of old releases have names that are no versions, and nobody can pin those."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


class AdvisoryServer:
    """Answers queries; `asked` has every package and version that was asked for."""

    def __init__(self, advisories: Advisories) -> None:
        self.asked: set[tuple[str, str]] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, advisories))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/query"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def _handler(server: AdvisoryServer, advisories: Advisories) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name, version = query["package"]["name"], query["version"]
            server.asked.add((canonicalize_name(name), version))
            found = advisories.about(name, version)
            answer = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
