#!/usr/bin/env python3
"""How long `edgecnn --help` and `edgecnn fit FILE` take, from the shell's point of view.

    .venv/bin/python benchmarks/startup.py mobilenet_v2.tflite

Each run is a process of its own. The commands take turns, so that a machine that slows down slows all of them, and
the bare interpreter is run beside them: what it takes, nobody can save.
Floors: help 0.15 s, fit of a MobileNetV2 file 0.5 s.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import edgecnn
from edgecnn.device import load_device
from edgecnn.files import write_whole

RESULT = Path(__file__).parent / "tables/spine/startup.json"
FLOORS_NS = {"help": 150_000_000, "fit": 500_000_000}


def wall_ns(command: list[str], accepted: tuple[int, ...]) -> int:
    """Return how long one run of *command* takes, in nanoseconds."""
    begin = time.perf_counter_ns()
    run = subprocess.run(command, capture_output=True, text=True)
    taken = time.perf_counter_ns() - begin
    if run.returncode not in accepted:
        sys.exit(f"{' '.join(command)} ended with {run.returncode}: {run.stderr.strip()}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the .tflite file that fit reads, a MobileNetV2 for the floor")
    parser.add_argument("--device", default="rpi4")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()

    program = str(Path(sys.executable).with_name("edgecnn"))
    fits_or_not = (0, 1)
    commands: dict[str, tuple[list[str], tuple[int, ...]]] = {
        "interpreter": ([sys.executable, "-c", "pass"], (0,)),
        "help": ([program, "--help"], (0,)),
        "fit": ([program, "fit", str(arguments.file), "--device", arguments.device], fits_or_not),
    }
    for command, accepted in commands.values():  # warm-up: byte code and page cache
        wall_ns(command, accepted)
    values: dict[str, list[int]] = {name: [] for name in commands}
    for _ in range(arguments.runs):
        for name, (command, accepted) in commands.items():
            values[name].append(wall_ns(command, accepted))

    medians = {name: statistics.median(taken) for name, taken in values.items()}
    result = {
        "schema_version": 1,
        "edgecnn": edgecnn.__version__,
        "python": platform.python_version(),
        "machine": load_device("host").facts().get("cores"),
        "file": {"name": arguments.file.name, "size_bytes": arguments.file.stat().st_size},
        "device": arguments.device,
        "runs": arguments.runs,
        "p50_ns": medians,
        "floors_ns": FLOORS_NS,
        "holds": {name: medians[name] < floor for name, floor in FLOORS_NS.items()},
        "values_ns": values,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.output, json.dumps(result, indent=2) + "\n")
    for name, median in medians.items():
        floor = f"  floor {FLOORS_NS[name] / 1e9:.2f} s" if name in FLOORS_NS else ""
        print(f"{name:12} {median / 1e9:.3f} s (median of {arguments.runs}){floor}")
    print(arguments.output)
    sys.exit(0 if all(result["holds"].values()) else 1)


if __name__ == "__main__":
    main()
