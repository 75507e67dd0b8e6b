"""What measuring on a target costs beside the measurement itself: reaching it, then each worker.

    python benchmarks/target_overhead.py FILE --device my-pi --target ssh://pi@raspberrypi.local

Prints, in seconds, the median of several times: opening and leaving the target; a result of one process whose
measurement is one call, over the open connection, the file being sent anew and being there already.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from edgecnn import BenchmarkConfig, measure
from edgecnn.targets import open_target

BARE = BenchmarkConfig(processes=1, warmup_s=0, min_time_s=0, min_values=1, min_value_s=0)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def visit(target: str) -> None:
    with open_target(target):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()

    visits = [seconds(lambda: visit(given.target)) for _ in range(given.times)]
    first, later = [], []
    for _ in range(given.times):
        with open_target(given.target) as place:
            for taken in (first, later):
                taken.append(seconds(lambda: measure(given.file, device=given.device, target=place, effort=BARE)))
    figures = {"open_and_leave_s": visits, "first_result_s": first, "later_result_s": later}
    print(json.dumps({name: round(statistics.median(taken), 3) for name, taken in figures.items()}))


if __name__ == "__main__":
    main()
