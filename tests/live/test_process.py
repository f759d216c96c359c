"""A child that serves until its input ends is ended by that, and one that does not mind it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mbo.live.process import end

OBEDIENT = "import sys; print('here', flush=True); sys.stdin.read(); sys.exit(3)"
DEAF = "import time; print('here', flush=True); time.sleep(600)"


@pytest.mark.parametrize(("program", "limit_s", "code"), [(OBEDIENT, 60.0, 3), (DEAF, 0.1, -signal.SIGKILL)])
def test_a_child_ends_with_its_input_or_is_killed(program, limit_s, code):
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"here\n"
    assert end(process, limit_s) == process.returncode == code
    assert process.stdin.closed
    assert process.stdout.closed
