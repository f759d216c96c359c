"""What is in the image: kernels that need no compiling, no secret, nothing that it could do without."""

from __future__ import annotations

import json

import pytest

from tests.docker.stack import IMAGE
from tests.tools.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]  # the first of them waits for the image

CONFINED = (
    "--rm",
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp:mode=1777",
)
FIRST_BOOK = """
import json, os
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    import mbo
    book = mbo.read_dbn("/opt/mbo/simulated.mbo.dbn.zst").book("SIM1")
print(json.dumps({"compiled": len(recorder.buffer), "digest": book.digest(), "user": os.getuid()}))
"""


def first_book(engine: Engine, *options: str) -> dict[str, object]:
    done = engine.docker("run", *CONFINED, *options, IMAGE, "python", "-c", FIRST_BOOK, limit_s=240)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_containers_first_book_compiles_nothing(engine):
    import mbo

    found = first_book(engine)
    assert found == {"compiled": 0, "digest": mbo.read_dbn(mbo.SIMULATED).book("SIM1").digest(), "user": 10001}
    # No copy of the kernels can be made here, and the process makes one for itself.
    assert first_book(engine, "--env=MBO_CACHE_DIR=/opt/mbo/kernels", "--tmpfs=/tmp/kernels:mode=555")["compiled"] == 0
    # The control: with kernels for another processor none of these fits.
    other = first_book(engine, "--env=NUMBA_CPU_NAME=x86-64-v2")
    assert other["digest"] == found["digest"]
    assert int(str(other["compiled"])) > 0


def listed(engine: Engine, image: str, *command: str) -> set[str]:
    """Run a program of an image that names files; folders that are not there do not matter."""
    done = engine.docker("run", *CONFINED, "--user=0", f"--entrypoint={command[0]}", image, *command[1:], check=False)
    assert "No such file" in done.stderr or not done.stderr, done.stderr
    return set(done.stdout.split())


def leaks(engine: Engine, image: str) -> set[str]:
    """Say where an image has what looks like a secret: in its settings, in how its layers were made, in its files."""
    found = json.loads(engine.docker("inspect", image).stdout)[0]
    history = engine.docker("history", "--no-trunc", "--format={{.CreatedBy}}", image).stdout
    names = (
        "MBO_GATEWAY_KEY",
        "MBO_API_KEY",
        "MBO_CLICKHOUSE_PASSWORD",
        "DATABENTO_API_KEY",
        "PASSWORD",
        "TOKEN",
        "SECRET",
    )
    settings = "\n".join(found["Config"]["Env"])
    suspicious = ["-name", ".env"]
    for pattern in ("*.env", "id_rsa*", "id_ed25519*", "*_key", ".netrc", ".git-credentials"):
        suspicious += ["-o", "-name", pattern]
    places = ["/run/secrets", "/opt", "/home", "/srv", "/etc/mbo"]
    look = ["find", *places, "-type", "f", "(", "-path", "/run/secrets/*", "-o", *suspicious, ")"]
    files = listed(engine, image, *look)
    where = {"settings": settings, "history": history}
    return {f"{place}: {name}" for place, text in where.items() for name in names if f"{name}=" in text} | files


def test_no_secret_is_in_its_settings_its_history_or_its_files(engine, tmp_path):
    assert leaks(engine, IMAGE) == set()
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\nENV MBO_GATEWAY_KEY=left\nRUN echo TOKEN=left >/dev/null && echo left >/run/secrets/api_key\n"
    )
    engine.docker("build", "--quiet", "--network=none", "--tag=mbo-planted", str(tmp_path))
    try:
        assert leaks(engine, "mbo-planted") == {
            "settings: MBO_GATEWAY_KEY", "history: MBO_GATEWAY_KEY", "history: TOKEN", "/run/secrets/api_key",
        }  # fmt: skip
    finally:
        engine.docker("image", "rm", "--force", "mbo-planted")


def test_it_has_no_more_than_it_needs(engine):
    missing = (
        "import importlib.util as u, json, sys; print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n) is None]))"
    )
    left_out = ("chdb", "pytest", "jupyterlab", "databento", "pip", "tests")
    done = engine.docker("run", *CONFINED, IMAGE, "python", "-c", missing, *left_out, "mbo", "dashboard")
    assert json.loads(done.stdout) == list(left_out)
    found = json.loads(engine.docker("inspect", IMAGE).stdout)[0]
    base = json.loads(engine.docker("inspect", engine.base()).stdout)[0]
    assert found["Config"]["User"] == "10001:10001"
    assert found["Size"] - base["Size"] < 1_000_000_000
    look = ("find", "/usr", "/opt", "-perm", "/6000", "-type", "f")  # programs with more rights than who calls them
    assert listed(engine, IMAGE, *look) <= listed(engine, engine.base(), *look) != set()
