"""Whether `edgecnn bench --against` keeps quiet where nothing changed: one file, measured again and again.

Each round is a result of its own, as if taken on another occasion; every pair of rounds is compared. Run it on a quiet
machine with nothing else on it, for a figure that means something:

    python benchmarks/no_change.py FILE [--rounds 6] [--processes 9] [--min-time 1]
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from itertools import combinations

from edgecnn.benchmarks.changes import TOLERANCE, find_change
from edgecnn.benchmarks.measure import BenchmarkConfig, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument("--min-time", type=float, default=1.0)
    given = parser.parse_args()
    effort = BenchmarkConfig(processes=given.processes, min_time_s=given.min_time)
    rounds = [measure(given.file, effort=effort) for _ in range(given.rounds)]
    medians = [[run.median_ns for run in result.runs if run.median_ns] for result in rounds]
    within = [statistics.stdev(values) / statistics.fmean(values) for values in medians]
    levels = [statistics.median(values) for values in medians]
    print(f"spread between processes of a round: {min(within):.2%} to {max(within):.2%}")
    print(f"spread between rounds: {statistics.stdev(levels) / statistics.fmean(levels):.2%}")
    changes = [find_change(later, [earlier]) for earlier, later in combinations(rounds, 2)]
    for verdict, count in Counter(change.verdict for change in changes).most_common():
        print(f"{verdict}: {count} of {len(changes)} pairs, tolerance {TOLERANCE:.0%}")
    missed = sum(not (change.low or 0) <= 1 <= (change.high or 2) for change in changes)
    print(
        f"intervals that miss 1: {missed} of {len(changes)}; about 1 of 20, where rounds differ no more than processes"
    )


if __name__ == "__main__":
    main()
