"""Does edgecnn's p50 agree with LiteRT's own benchmark tool? Alternating processes, same file, same threads.

    python benchmarks/bench_agreement.py FILE.tflite [FILE.tflite ...] [--rounds 7] [--threads 1]

Writes benchmarks/tables/spine/bench_agreement.json. Needs a quiet machine, and files that take more than about a
millisecond: the tool rounds its figures to 0.01 ms.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, time_process
from edgecnn.files import write_whole
from edgecnn.units import format_ns

TABLE = Path(__file__).parent / "tables" / "spine" / "bench_agreement.json"
TOLERANCE = 0.03


def peer_p50_ns(file: Path, threads: int, warmup: int, runs: int) -> float:
    """Return the median that `ai_edge_litert.tools.benchmark_litert_model` tells, which is in 0.01 ms."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        arguments = {"model": file, "num_threads": threads, "warmup_runs": warmup, "num_runs": runs}
        given = [f"--{key}={value}" for key, value in arguments.items()]
        program = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", *given]
        subprocess.run([*program, f"--result_json={result}"], check=True, capture_output=True)
        return float(json.loads(result.read_text())["latency"]["median_ms"]) * 1e6


def compare(file: Path, threads: int, rounds: int) -> dict[str, object]:
    """Return both tools' medians of each round and the median of their ratios."""
    artifact = Artifact.open(file)
    effort = BenchmarkConfig()
    usual_ns = time_process(artifact, runtime="litert", threads=threads).run.median_ns
    assert usual_ns is not None
    # The peer gets as long a warm-up and as much measuring time as we take.
    warmup = math.ceil(effort.warmup_s * 1e9 / usual_ns)
    runs = max(effort.min_values, math.ceil(effort.min_time_s * 1e9 / usual_ns))
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(rounds):
        for is_ours in (True, False) if turn % 2 == 0 else (False, True):
            if is_ours:
                median_ns = time_process(artifact, runtime="litert", threads=threads).run.median_ns
                assert median_ns is not None
                ours.append(median_ns)
            else:
                theirs.append(peer_p50_ns(file, threads, warmup, runs))
    ratios = [own / peer for own, peer in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"{file.name}: {threads} threads, edgecnn {format_ns(statistics.median(ours))}, "
        f"peer {format_ns(statistics.median(theirs))}, ratio {ratio:.4f} ({min(ratios):.3f}…{max(ratios):.3f})"
    )
    return {
        "file": file.name,
        "sha256": artifact.sha256,
        "threads": threads,
        "edgecnn_p50_ns": ours,
        "peer_p50_ns": theirs,
        "ratios": ratios,
        "median_ratio": ratio,
        "agrees": abs(ratio - 1) <= TOLERANCE,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=TABLE)
    arguments = parser.parse_args()
    results = [compare(file, arguments.threads, arguments.rounds) for file in arguments.files]
    document = {
        "peer": "python -m ai_edge_litert.tools.benchmark_litert_model (rounds to 0.01 ms)",
        "machine": platform.processor() or platform.machine(),
        "tolerance": TOLERANCE,
        "results": results,
    }
    write_whole(arguments.output, json.dumps(document, indent=1) + "\n")
    return 0 if all(result["agrees"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
