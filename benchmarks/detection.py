"""How often `edgecnn bench --against` says slower, same or undecided: simulated processes, tolerance 5 %.

The medians of the processes are drawn log-normal, with a spread between processes of the given share. Nothing is
measured, so it may run anywhere:

    python benchmarks/detection.py
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecnn.benchmarks.changes import find_change
from edgecnn.measurement import Measurement, Memory, Run

TRIALS = 2000
ONE_MS_NS = 1e6


def result(medians_ns: np.ndarray) -> Measurement:
    runs = tuple(
        Run(
            import_ns=1,
            load_ns=1,
            first_ns=1,
            warmup=1,
            loops=1,
            values_ns=(round(value),),
            memory=Memory(),
            finite=True,
        )
        for value in medians_ns
    )
    return Measurement(
        file="m.tflite",
        format="tflite",
        precision="fp32",
        runtime="litert",
        runtime_version="1",
        device="host",
        target="local",
        threads=1,
        runs=runs,
        size_bytes=1,
    )


def verdicts(processes: int, spread: float, slowdown: float, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for _ in range(TRIALS):
        earlier, later = (result(ONE_MS_NS * rng.lognormal(0, spread, processes) * f) for f in (1, 1 + slowdown))
        found[find_change(later, [earlier]).verdict] += 1
    return found


if __name__ == "__main__":
    print("| processes each | spread between processes | truth | slower | same | undecided | faster |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for processes in (5, 9, 20):
        for spread in (0.01, 0.02, 0.05):
            for slowdown in (0.0, 0.10):
                found = verdicts(processes, spread, slowdown, seed=1)
                shares = (f"{100 * found[v] / TRIALS:.1f} %" for v in ("slower", "same", "undecided", "faster"))
                print(f"| {processes} | {spread:.0%} | {1 + slowdown:.2f} times | {' | '.join(shares)} |")
