"""The bundled session is what its manifest says, and what the script that made it makes today."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_the_readme_shows_the_session_as_it_is():
    from mbo.book.render import ladder_text

    readme = (Path(mbo.__file__).parents[1] / "README.md").read_text()
    assert ladder_text(mbo.read_dbn(mbo.SIMULATED).book("SIM1", at="2025-01-06T14:30:20"), 4) in readme
