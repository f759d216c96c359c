"""The bundled session is what its manifest says, and what the script that made it makes today."""

from __future__ import annotations

import json

import pyarrow as pa

import mbo
from tests.golden.make import make


def unpacked(path) -> bytes:
    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read()


def test_the_script_makes_the_same_bytes(tmp_path):
    make(tmp_path / "again.dbn.zst", tmp_path / "again.json")
    assert unpacked(tmp_path / "again.dbn.zst") == unpacked(mbo.SIMULATED)
    assert (tmp_path / "again.json").read_text() == mbo.SIMULATED.with_name("simulated.json").read_text()


def test_every_book_ends_as_the_manifest_says():
    manifest = json.loads(mbo.SIMULATED.with_name("simulated.json").read_text())
    books = mbo.read_dbn(mbo.SIMULATED).books(strict=True)
    assert {book.symbol: book.digest() for book in books.values()} == manifest["digests"]
    assert sum(book.status.messages for book in books.values()) == manifest["arguments"]["messages"]


def test_the_session_is_small_enough_for_the_tree():
    assert mbo.SIMULATED.stat().st_size <= 2_000_000
