"""Whether a smaller precision made a file faster, which it does not on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.measurement import Measurement
from edgecnn.units import format_ns


def missing_gains(results: Sequence[Measurement]) -> list[str]:
    """Return a sentence for each quantized file that is no faster than its fp32 file, measured the same way."""
    floats = {_family(result): result for result in results if result.precision == "fp32"}
    sentences = []
    for result in results:
        plain = floats.get(_family(result))
        if result.precision == "fp32" or plain is None or result.p50_ns is None or plain.p50_ns is None:
            continue
        if result.p50_ns >= plain.p50_ns:
            sentences.append(
                f"{Path(result.file).name} is no faster than {Path(plain.file).name} here "
                f"({format_ns(result.p50_ns)} against {format_ns(plain.p50_ns)}, {result.runtime}, "
                f"{result.threads} thread{'s' * (result.threads > 1)}): on this machine it gains size alone"
            )
    return sentences


def _family(result: Measurement) -> tuple[str, str, int, str]:
    """Return what two files of one network have in common: the name but for the precision, and how it was run."""
    return (result.file.replace(f".{result.precision}.", "."), result.runtime, result.threads, result.device)
