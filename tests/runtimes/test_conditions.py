"""What a machine tells about itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecnn.runtimes.conditions import read_machine, read_state, resident_bytes

PEAK = "from edgecnn.runtimes.conditions import resident_bytes; print(resident_bytes('VmHWM'))"


def test_the_machine_is_told_as_json() -> None:
    """What is read can be stored as JSON; at least the number of cores is known."""
    machine = read_machine()
    assert json.loads(json.dumps(machine, allow_nan=False)) == machine
    assert 1 <= machine["cores_allowed"] <= machine["cores"]


def test_counters_only_grow() -> None:
    """Two readings can be subtracted: counters never fall."""
    first, second = read_state(), read_state()
    for key in ("busy_ticks", "process_ns", "monotonic_ns"):
        assert first[key] is None or second[key] >= first[key]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_the_peak_is_the_process_own() -> None:
    """A small process started by a big one reports its own peak memory, not its parent's."""
    ballast = np.ones(50_000_000)  # 400 MB, touched
    own = resident_bytes("VmHWM")
    assert own is not None
    assert own > 350e6
    child = int(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout)
    assert child < 100e6 < ballast.nbytes
