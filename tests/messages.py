"""What commands say on standard error beside their progress."""

from __future__ import annotations


def messages(stderr: str) -> list[str]:
    """Return the lines of *stderr* that are errors or warnings; the others are progress, none a traceback."""
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("edgecnn: ")]
