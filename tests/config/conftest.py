"""Tests of configuration run without the variables of whoever runs them."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MBO_") or name == "DATABENTO_API_KEY":
            monkeypatch.delenv(name)
