"""The reference in docs/ is what the code says of itself today."""

import importlib.util
from pathlib import Path

import mbo

DOCS = Path(__file__).parents[1] / "docs"


def test_reference_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert text == module.reference(), "make reference"
    assert "  \n  \n" not in text, "every public name says what it is"
    assert all(f"mbo.{name}" in text for name in mbo.__all__ if name in mbo._HOME and name[0].islower())
