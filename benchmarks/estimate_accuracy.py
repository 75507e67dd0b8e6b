"""How well calibration predicts: calibrate this machine as if it were a board, then estimate networks it never saw.

`python benchmarks/estimate_accuracy.py [-o results.json] [--networks 36] [NAME ...]` exports torchvision networks with
random weights to fp32 and w8a8 TFLite, estimates and measures each, and prints estimate, band and truth. It ends with
the median absolute error (to be at most 15 %) and the share within the band (at least 90 %); the exit code is 1 where
either fails. For a quiet machine: load from others makes both figures worse. Takes some ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.calibrate import calibrate
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.benchmarks.probe import probe_device, profile_toml
from edgecnn.datasets.noise import noise
from edgecnn.estimate import estimate_latency
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.tflite import to_tflite
from edgecnn.nets.network import build

NETWORKS = (
    *("alexnet", "squeezenet1_1", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large"),
    *("mnasnet1_0", "efficientnet_b0", "shufflenet_v2_x1_0", "googlenet", "densenet121", "regnet_y_400mf"),
)
MOST_ERROR, LEAST_IN_BAND = 0.15, 0.9
SHAPE = (3, 224, 224)


def export(network: str, folder: Path) -> list[Path]:
    """Return the TFLite files of *network*, fp32 and w8a8; those that lie in *folder* already are not made again."""
    fp32, w8a8 = (folder / f"{network}.{precision}.tflite" for precision in ("fp32", "w8a8"))
    if not fp32.is_file():
        to_tflite(build(f"torchvision:{network}").module, fp32, SHAPE)
    if not w8a8.is_file():
        samples = noise(SHAPE, 4).calibration(4)
        quantize(Artifact.open(fp32), w8a8, "w8a8", calibration=CalibrationInputs(samples, None))
    return [fp32, w8a8]


def main() -> int:
    """Calibrate, export, estimate, measure, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--networks", type=int, default=36, help="synthetic networks to calibrate with")
    parser.add_argument("--folder", type=Path, help="where the exported files lie or are put")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        board = Path(scratch) / "this-machine.toml"
        board.write_text(profile_toml(probe_device("local")), encoding="utf-8")
        for done in calibrate(str(board), target="local", networks=given.networks):
            print(f"calibrated {done.model.precision}: {100 * done.median_error:.1f} % median error held out")
        results = []
        for name in given.names:
            for file in export(name, given.folder or Path(scratch)):
                estimate = estimate_latency(file, str(board))
                truth_ns = measure(file, effort=BenchmarkConfig(processes=3)).p50_ns or float("nan")
                error = estimate.p50_ns / truth_ns - 1
                inside = estimate.low_ns <= truth_ns <= estimate.high_ns
                results.append({**estimate.to_json(), "file": file.name, "measured_ns": truth_ns, "inside": inside})
                band = f"{estimate.low_ns / 1e6:.2f} … {estimate.high_ns / 1e6:.2f} ms"
                told = f"estimated {estimate.p50_ns / 1e6:8.2f} ms ({band}), measured {truth_ns / 1e6:8.2f} ms"
                print(f"{file.name:36} {told}, error {100 * error:+.1f} %{'' if inside else ', OUTSIDE'}")
                sys.stdout.flush()
    errors = [abs(result["p50_ns"] / result["measured_ns"] - 1) for result in results]
    median_error, in_band = statistics.median(errors), statistics.fmean(result["inside"] for result in results)
    print(f"{len(results)} files: median error {100 * median_error:.1f} %, {100 * in_band:.0f} % within the band")
    if given.output is not None:
        summary = {"median_error": median_error, "in_band": in_band, "load_average": os.getloadavg()[0]}
        given.output.write_text(json.dumps({**summary, "results": results}, indent=1) + "\n", encoding="utf-8")
    return 0 if median_error <= MOST_ERROR and in_band >= LEAST_IN_BAND else 1


if __name__ == "__main__":
    sys.exit(main())
