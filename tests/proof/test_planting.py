"""Every planted fault still fits the code: told at once, not when the proofs run."""

from __future__ import annotations

from pathlib import Path

import mbo
from tests.proof.mutants import ANALYTICS, EMISSION, ENGINE, PARALLEL


def test_every_fault_has_its_place():
    package = Path(mbo.__file__).parent
    times = {
        f"{mutant.file}: {mutant.fault}": (package / mutant.file).read_text().count(mutant.old)
        for mutant in [*ENGINE, *PARALLEL, *EMISSION, *ANALYTICS]
    }
    assert {fault: count for fault, count in times.items() if count != 1} == {}
