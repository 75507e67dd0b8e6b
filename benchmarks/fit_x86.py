"""Fit the latency coefficients of the x86-64 devices of the catalogue to latencies measured by this project.

`python benchmarks/fit_x86.py` reads benchmarks/tables/estimates/x86.json: LiteRT on one thread of a Xeon with AVX-512,
VNNI and AMX, 12 torchvision networks in fp32 and w8a8 (estimate_accuracy.py measured them). x86-vnni gets these. A
machine with AVX2 alone was not at hand: x86-avx2 gets twice the time in float, whose vectors are half as long, and four
times in int8, where three instructions stand for one of VNNI besides. Both stand for machines of any clock, so their
bands are those of networks left out times CLOCKS. Of onnxruntime the ratio of its latencies to LiteRT's on one machine
is known (ORT). Takes some four minutes, most of it to export the networks.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from estimate_accuracy import NETWORKS, SHAPE

from edgecnn.device import LatencyModel
from edgecnn.estimate.coefficients import write_coefficients
from edgecnn.estimate.cores import scaled
from edgecnn.estimate.fitting import Spread, amounts_of, as_costs, band_of, fit_costs, held_out_ratios, prior_of
from edgecnn.estimate.work import Work, graph_works
from edgecnn.export.onnx import to_onnx
from edgecnn.formats import read_graph
from edgecnn.nets.network import build
from edgecnn.shipped import shipped

MEASURED = Path(__file__).parent / "tables/estimates/x86.json"
SPREAD = Spread(3.0, 1.0, 0.6, 0.1)
#: Clocks from 2 to 5 GHz, with and without AMX.
CLOCKS = 1.8
AVX2 = {"fp32": 2.0, "w8a8": 4.0}
#: onnxruntime over LiteRT, one thread, fp32, on one x86-64 machine: ResNet-18, MobileNetV2, EfficientNet-B0.
ORT = float(np.exp(np.mean(np.log([24.2 / 38.7, 1.0, 10.1 / 12.0]))))
ORT_SPREAD = {"fp32": 1.3, "w8a8": 1.6}


def works_of(name: str) -> list[Work]:
    """Return the work of each operator of a torchvision network."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = to_onnx(build(f"torchvision:{name}").module.eval(), Path(folder) / f"{name}.onnx", SHAPE)
        return [work for _, work in graph_works(read_graph(artifact.path), "litert")]


def fit(works: dict[str, list[Work]], precision: str) -> LatencyModel:
    """Return the coefficients of LiteRT in *precision*, its band that of networks left out times CLOCKS."""
    results = json.loads(MEASURED.read_text(encoding="utf-8"))["results"]
    measured_ns = {row["file"].removesuffix(f".{precision}.tflite"): row["measured_ns"] for row in results}
    latencies_ns = np.array([measured_ns[name] for name in works])
    amount = np.array([amounts_of(own, precision) for own in works.values()])
    prior = prior_of("litert", precision)
    ratios = held_out_ratios(amount, latencies_ns, prior, SPREAD)
    high = float(f"{band_of(ratios, 0.9)[1] * CLOCKS:.4f}")
    print(precision, "median error of networks left out", f"{np.median(np.abs(1 / ratios - 1)):.3f}", "band x", high)
    return LatencyModel(
        runtime="litert",
        precision=precision,
        threads=1,
        costs=as_costs(fit_costs(amount, latencies_ns, prior, SPREAD)),
        low=float(f"{1 / high:.4f}"),
        high=high,
        coverage=0.9,
        networks=len(works),
        source="fitted by benchmarks/fit_x86.py to 12 networks that this project measured on a Xeon with AVX-512, VNNI "
        "and AMX (benchmarks/tables/estimates/x86.json); the band is wider for other clocks and machines without AMX",
    )


def main() -> None:
    """Write both devices."""
    works = {name: works_of(name) for name in NETWORKS}
    models = {precision: fit(works, precision) for precision in AVX2}
    for device in ("x86-vnni", "x86-avx2"):
        own = []
        for precision, model in models.items():
            if device == "x86-avx2":
                text = f"not measured on AVX2: {AVX2[precision]:g} times the costs with AVX-512, half as long vectors"
                model = scaled(model, AVX2[precision], 1.3, f"{text}; {model.source}")
            text = (
                f"onnxruntime takes {ORT:.2f} of LiteRT's time in fp32 on one x86-64 machine (mean of three networks)"
            )
            other = scaled(model, ORT, ORT_SPREAD[precision], f"{text}; {model.source}")
            own += [_rounded(model), _rounded(replace(other, runtime="onnxruntime"))]
        path = shipped("devices") / f"{device}.toml"
        write_coefficients(path, path, own)


def _rounded(model: LatencyModel) -> LatencyModel:
    """Return *model* with four significant digits."""
    flat = np.array([[c.ns_per_mac, c.ns_per_byte, c.ns_per_operator] for c in model.costs.values()])
    costs = as_costs(flat.ravel(), tuple(model.costs))
    return replace(model, costs=costs, low=float(f"{model.low:.4f}"), high=float(f"{model.high:.4f}"))


if __name__ == "__main__":
    main()
