"""Where a store is, by its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbo.errors import RequestError
from mbo.store.backend import Address
from mbo.store.schema import Layout


def test_an_embedded_store_is_a_directory():
    assert Address.parse("chdb:///data/my%20store").path == Path("/data/my store")


def test_the_default_is_the_user_s_data_directory(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Address.parse(None).path == tmp_path / "mbo"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # the specification says to ignore it
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Address.parse(None).path == tmp_path / ".local/share/mbo"


def test_a_server_has_a_layout():
    address = Address.parse("https://ann@db.example:9440/mbo?layout=sharded&cluster=west")
    assert (address.host, address.port, address.user, address.secure) == ("db.example", 9440, "ann", True)
    assert address.layout == Layout("sharded", "west")
    assert Address.parse("http://db.example/mbo").port == 8123
    assert Address.parse("https://db.example").port == 8443


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(RequestError, match="MBO_CLICKHOUSE_PASSWORD") as error:
        Address.parse("http://ann:hunter2@db.example/mbo")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://x/y", "chdb://relative/dir", "chdb:dir", "http://", "http://h/other", "http://h:99999/mbo", "http://h/mbo?x=1",
        "http://h/mbo?layout=round&cluster=x", "http://h/mbo?layout=sharded", "http://h/mbo?cluster=x",
        "http://h/mbo?layout=sharded&cluster=x'%3B DROP", "http://h/mbo?layout=sharded&cluster=", "chdb:///x?layout=single",
    ],
)  # fmt: skip
def test_a_wrong_url_is_refused(url):
    with pytest.raises(RequestError):
        Address.parse(url)
