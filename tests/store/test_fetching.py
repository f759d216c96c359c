"""The tests' ClickHouse server is fetched once, is what it should be, or is not there at all."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile

import pytest

from tests.tools import clickhouse_http, fetch_libchdb

LIBRARY = b"\x7fELF and so on"


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that brings a package of ours, and counts how often it is asked; the cache is empty."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in (("package/index.js", b"no"), ("package/libchdb.so", LIBRARY)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    package, program = tmp_path / "package.tgz", tmp_path / "bin" / "npm"
    package.write_bytes(content.getvalue())
    digest = base64.b64encode(hashlib.sha512(content.getvalue()).digest()).decode()
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/asked
for option; do case $option in --pack-destination=*) cp {package} "${{option#*=}}"/chdb.tgz;; esac; done
"""
    )
    program.chmod(0o755)
    monkeypatch.setattr(fetch_libchdb.shutil, "which", lambda _: str(program))
    monkeypatch.setattr(fetch_libchdb.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(fetch_libchdb.sys, "platform", "linux")
    monkeypatch.setattr(fetch_libchdb, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(fetch_libchdb, "cached", lambda: tmp_path / "cache" / "clickhouse" / "libchdb.so")
    monkeypatch.delenv(clickhouse_http.FOLDER, raising=False)
    return program


def test_it_is_fetched_once(npm, tmp_path, capsys):
    assert fetch_libchdb.main() == fetch_libchdb.main() == 0
    library = tmp_path / "cache" / "clickhouse" / "libchdb.so"
    assert capsys.readouterr().out.splitlines()[1:] == [f"{library}: fetched", f"{library}: was there"]
    assert library.read_bytes() == LIBRARY
    assert [path.name for path in library.parent.iterdir()] == ["libchdb.so"]
    assert (tmp_path / "asked").read_text().count("\n") == 1
    assert clickhouse_http.library() == library


def test_another_package_is_refused(npm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch_libchdb, "INTEGRITY", "sha512-other")
    assert fetch_libchdb.main() == 1
    assert "is not what it was" in capsys.readouterr().err
    assert not list((tmp_path / "cache" / "clickhouse").iterdir())


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "npm error code E404"),
        ("exit 3", "exit code 3"),
        ("true", "left 0 packages"),
    ],
)
def test_an_npm_that_fails_is_said(npm, tmp_path, capsys, script, sentence):
    npm.write_text(f"#!/bin/sh\n{script}\n")
    assert fetch_libchdb.main() == 1
    assert sentence in capsys.readouterr().err
    assert not list((tmp_path / "cache" / "clickhouse").iterdir())


def test_no_npm_and_no_package_for_the_machine_are_said(npm, monkeypatch, capsys):
    monkeypatch.setattr(fetch_libchdb.shutil, "which", lambda _: None)
    assert fetch_libchdb.main() == 1
    assert "npm is not there" in capsys.readouterr().err
    monkeypatch.setattr(fetch_libchdb.platform, "machine", lambda: "riscv64")
    assert fetch_libchdb.main() == 1
    assert "for linux on riscv64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("required", "outcome"), [("", pytest.skip.Exception), ("data,clickhouse", pytest.fail.Exception)]
)
def test_a_missing_server_is_skipped_or_required(npm, monkeypatch, required, outcome):
    monkeypatch.setenv("MBO_REQUIRE", required)
    with pytest.raises(outcome, match=r"no ClickHouse server to test with: .* has no libchdb\.so"):
        clickhouse_http.library()
