"""`python -m mbo` is the command `mbo`."""

from __future__ import annotations

from mbo.cli import main

main()
