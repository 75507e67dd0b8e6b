"""A metric of one's own, as a user writes it: one function."""

from __future__ import annotations

from typing import Any

import numpy as np

DEGREES = 5


def readings(outputs: list[Any], targets: Any) -> float:
    """Return the share of gauges whose kind is right and whose needle is read to 5 degrees.

    *outputs* are sine and cosine [n, 2] and the logits of the kind [n, 3]; *targets* sine, cosine and kind [n, 3].
    """
    reading, kind = sorted(outputs, key=lambda output: output.shape[1])
    angle = np.arctan2(reading[:, 0], reading[:, 1]) - np.arctan2(targets[:, 0], targets[:, 1])
    apart = np.abs(np.angle(np.exp(1j * angle), deg=True))
    return float(((apart <= DEGREES) & (kind.argmax(1) == targets[:, 2])).mean())
