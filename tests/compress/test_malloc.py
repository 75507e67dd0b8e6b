"""The memory of a training's steps."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.compress.malloc import _glibc, freed_memory_kept


def resident_bytes() -> int:
    """Return the memory that this process has in RAM."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.mark.serial  # other tests of the same process free memory as well
@pytest.mark.skipif(_glibc() is None, reason="it is glibc that gives memory back")
def test_freed_memory_is_kept_while_entered_and_given_back_in_the_end() -> None:
    """A block that is freed stays in the process until the end."""
    before = resident_bytes()
    with freed_memory_kept():
        np.ones(2**25)  # 256 MiB, freed at once
        within = resident_bytes()
    after = resident_bytes()
    assert within - before > 200 * 2**20
    assert after - before < 50 * 2**20
