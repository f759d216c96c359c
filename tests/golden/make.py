"""Make the bundled simulated session, and the manifest that says what it is and how its books end.

    python tests/golden/make.py

The same seed gives the same bytes on any machine, so running it again changes nothing; `test_golden.py` sees to that.
"""

from __future__ import annotations

import json
from pathlib import Path

import mbo
from mbo.simulator import Feature, write_session

MESSAGES, SEED, INSTRUMENTS, RESTING = 90_000, 20_250_924, 3, 250
FEATURES = Feature.ALL


def make(session: Path, manifest: Path) -> None:
    """Write the session and its manifest."""
    arguments = {"messages": MESSAGES, "seed": SEED, "instruments": INSTRUMENTS, "resting": RESTING}
    written = write_session(session, **arguments, features=FEATURES)
    arguments["features"] = int(FEATURES)
    text = json.dumps(
        {"made by": "tests/golden/make.py", "arguments": arguments, "digests": dict(written.digests)}, indent=1
    )
    manifest.write_text(text + "\n")


if __name__ == "__main__":
    make(mbo.SIMULATED, mbo.SIMULATED.with_name("simulated.json"))
    print(f"{mbo.SIMULATED}: {mbo.SIMULATED.stat().st_size:,} bytes")
