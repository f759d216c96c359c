"""The stack of docker/compose.yaml on an engine of the tests' own, and what can be done to it: kill, pause, cut, heal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import httpx

from mbo.api import Client
from tests.tools.engine import Engine

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = (ROOT / "docker/compose.yaml", ROOT / "docker/compose.test.yaml")
IMAGE: Final = "mbo:0.1.0"
SERVICES: Final = ("gateway", "api", "dashboard", "clickhouse", "prometheus")
PORTS: Final = {"gateway": 13_000, "api": 8_000, "dashboard": 5_006, "prometheus": 9_090}
STANDINS: Final = (
    "stand-ins: clickhouse is libchdb's engine with the stack's users, prometheus is Debian's, the base of the image Debian's "
    "Python 3.11; grafana is left out; nothing is pulled from a registry of images"
)
_BUILD_LIMIT_S: Final = 1_200.0
_Found = TypeVar("_Found")


def build(engine: Engine, image: str = IMAGE) -> None:
    """Build the image as docker/Dockerfile says, on the base that stands in; the engine has to have the machine's network."""
    engine.docker(
        "build", "--network=host", f"--build-arg=BASE={engine.base()}", "--file", str(ROOT / "docker/Dockerfile"),
        f"--tag={image}", str(ROOT), limit_s=_BUILD_LIMIT_S,
    )  # fmt: skip


class Stack:
    """All services of one project; `settings` are what a `.env` file would say, `library` is libchdb.so."""

    def __init__(
        self, engine: Engine, library: Path, *, project: str = "mbo", settings: Mapping[str, str] | None = None,
        overlays: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.engine, self.project = engine, project
        self._files = [word for path in (*COMPOSE, *overlays) for word in ("--file", str(path))]
        program = shutil.which(os.environ.get("MBO_TEST_PROMETHEUS") or "prometheus") or engine.program("prometheus")
        self.settings = {
            "MBO_TEST_LIBRARY": str(library), "MBO_TEST_PROMETHEUS_PROGRAM": str(program), **(settings or {})
        }  # fmt: skip

    # ------------------------------------------------------------ up and down

    def compose(self, *words: str, check: bool = True, limit_s: float = 300.0) -> str:
        """Run `docker compose WORDS` on the project; gives what it printed."""
        files = ["compose", "--project-name", self.project, *self._files]
        return self.engine.docker(*files, *words, check=check, limit_s=limit_s, environment=self.settings).stdout

    def up(self, *services: str) -> None:
        """Start it and wait until every service is healthy."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "240", "--quiet-pull", *services)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('ps', '--all', check=False)}\n{self.logs()}") from None

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove the containers, and with `volumes` what they stored."""
        self.compose("down", "--timeout", "20", *(["--volumes"] if volumes else []))

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down(volumes=True)

    # ------------------------------------------------------------ what is there

    def container(self, service: str) -> str:
        """Give the id of a service's container, running or not."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """Give all that the engine knows of a container."""
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", self.container(service)).stdout)
        return found[0]

    def health(self, service: str) -> str:
        """Give its state by its health check: starting, healthy or unhealthy."""
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def restarts(self, service: str) -> int:
        """Count how often the engine has started it again."""
        return int(self.inspect(service)["RestartCount"])

    def logs(self, *services: str) -> str:
        """Give the last lines that services have written."""
        return self.compose("logs", "--no-color", "--tail", "60", *services, check=False)

    def exec(self, service: str, *words: str, check: bool = True, user: str | None = None) -> str:
        """Run a program in a container; gives what it printed."""
        as_user = [] if user is None else ["--user", user]
        done = self.engine.docker("exec", *as_user, self.container(service), *words, check=check)
        return done.stdout + done.stderr

    def sql(self, statement: str) -> str:
        """Ask ClickHouse in its own container, as the user of the stack."""
        code = (
            "import sys, urllib.request as r; password = open('/run/secrets/clickhouse_password').read().strip();"
            "head = {'X-ClickHouse-User': 'mbo', 'X-ClickHouse-Key': password};"
            "print(r.urlopen(r.Request('http://127.0.0.1:8123/', sys.argv[1].encode(), head), timeout=30).read().decode())"
        )
        return self.exec("clickhouse", "python3", "-c", code, statement)

    def secret(self, name: str) -> str:
        """Read one of the secrets that were made for the environment dev."""
        return self.exec("api", "cat", f"/run/secrets/{name}").strip()

    def inside(self) -> AbstractContextManager[None]:
        """Have this thread where the published ports are."""
        return self.engine.inside()

    def client(self) -> Client:
        """Make a client of the API that may control; to be used `inside`."""
        return Client(f"http://127.0.0.1:{PORTS['api']}", key=self.secret("api_key"))

    def get(self, service: str, path: str, **options: Any) -> httpx.Response:
        """Ask a service over its published port."""
        with self.inside(), httpx.Client(trust_env=False, timeout=10) as http:
            return http.get(f"http://127.0.0.1:{PORTS[service]}{path}", **options)

    def until(self, holds: Callable[[], _Found], what: str, limit_s: float = 90.0) -> _Found:
        """Wait until something holds, gives a true value; what is not there yet may refuse to answer meanwhile."""
        deadline, trouble = time.monotonic() + limit_s, ""
        while time.monotonic() < deadline:
            try:
                if found := holds():
                    return found
            except (httpx.TransportError, AssertionError) as error:
                trouble = f"\n{error}"
            time.sleep(0.25)
        raise AssertionError(f"not within {limit_s:g} s: {what}{trouble}\n{self.compose('ps', '--all')}\n{self.logs()}")

    # ------------------------------------------------------------ faults

    def kill(self, service: str) -> None:
        """Kill a container's first process; `docker kill` would be taken for a wish that it stays down."""
        os.kill(self.inspect(service)["State"]["Pid"], signal.SIGKILL)

    def pause(self, service: str) -> None:
        """Freeze all its processes."""
        self.engine.docker("pause", self.container(service))

    def resume(self, service: str) -> None:
        """Let them go on."""
        self.engine.docker("unpause", self.container(service))

    def cut(self, service: str, network: str) -> None:
        """Take a service off one of its networks; connections over it die without a word."""
        self.engine.docker("network", "disconnect", f"{self.project}_{network}", self.container(service))

    def heal(self, service: str, network: str) -> None:
        """Put it back, under its name."""
        self.engine.docker(
            "network", "connect", "--alias", service, f"{self.project}_{network}", self.container(service)
        )
