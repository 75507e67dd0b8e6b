"""How much faster `edgecnn sensitivity` is than the loop anybody would write, and whether it ranks the same.

    python benchmarks/sensitivity_speed.py MODEL [--weights FILE] [--ratio 0.5,1.0] [--threads N]
    python benchmarks/sensitivity_speed.py render

The loop: cut a layer, run the whole network on all samples, next layer. Both sides cut by the same function, have batch
norm's statistics follow, and judge by the same samples, the tenth of CIFAR-10's training images that is held out; the
loop runs whole passes in batches of 256. The result goes to
benchmarks/tables/layer-optimization/sensitivity_speed.json, with a table and a plot of it beside; `render` makes these
two of the result that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecnn.compress.bn_recalibration import moving_statistics, noting_statistics
from edgecnn.compress.judging import score_scale
from edgecnn.compress.prune import cut
from edgecnn.compress.ranking import cost_benefits, spearman
from edgecnn.compress.sensitivity import Row, Sensitivity, SensitivityConfig, costs_of, sensitivity
from edgecnn.compress.unit import LAYER
from edgecnn.compress.units import find_units
from edgecnn.datasets import open_dataset
from edgecnn.nets.network import Network, build
from edgecnn.normalization import Normalization, preprocess
from edgecnn.pipeline.judging import SHARES
from edgecnn.samples import Samples

BATCH = 256
RESULT = Path(__file__).parent / "tables" / "layer-optimization" / "sensitivity_speed.json"


def whole_pass(
    module: torch.nn.Module, samples: Samples, normalization: Normalization | None, scale: float = 1.0
) -> tuple[float, float]:
    """Return the accuracy and the mean probability of the right class, scores times *scale*."""
    correct, confidence = 0, 0.0
    with torch.no_grad():
        for batch in samples.batched(BATCH):
            scores = module(torch.from_numpy(np.ascontiguousarray(preprocess(batch.x, normalization))))
            labels = torch.from_numpy(batch.y)
            correct += int((scores.argmax(1) == labels).sum())
            confidence += float((scale * scores.double()).softmax(1).gather(1, labels[:, None]).sum())
    return correct / len(samples), confidence / len(samples)


def loop(
    network: Network,
    shape: tuple[int, ...],
    samples: Samples,
    calibration: Samples,
    normalization: Normalization | None,
    ratios: list[float],
) -> tuple[tuple[float, float], list[dict[str, object]]]:
    """Judge every cut by whole passes over all samples."""
    original, costs = whole_pass(network.module, samples, normalization), costs_of(network.module, shape)
    rows: list[dict[str, object]] = []
    chosen = calibration.take(BATCH, seed=3)  # as `Trial.recalibrate_batch_norm` does of this network
    x = torch.from_numpy(np.ascontiguousarray(preprocess(chosen.images[chosen.indices], normalization)))
    with torch.no_grad(), noting_statistics(network.module) as before:
        scores = network.module(x)
    found = find_units(network.module, shape)
    for unit in found.units:
        for ratio in sorted(ratios):
            if (ratio == 1) == (unit.kind == LAYER):
                made = cut(network.module, shape, {unit.name: ratio}, units=found)
                smaller, saved = made.module, costs - costs_of(made.module, shape)
                with torch.no_grad(), moving_statistics(smaller, before, made.removed_channels, list(before)):
                    scale = score_scale(scores, smaller(x))
                accuracy, confidence = whole_pass(smaller, samples, normalization, scale)
                rows.append(
                    {
                        "unit": unit.name,
                        "ratio": ratio,
                        "accuracy": accuracy,
                        "loss_increase": original[1] - confidence,
                        "bytes_saved": saved.size_bytes,
                    }
                )
                print(f"{unit.name} {ratio:g}: {accuracy:.4f}", file=sys.stderr, flush=True)
    return original, rows


def ranks_alike(fast: Sensitivity, rows: list[dict[str, object]], original: float, n: int) -> dict[str, float]:
    """Return the Spearman correlations of the fast ranking with those of all samples."""
    assert [(row.unit, row.ratio) for row in fast.rows] == [(row["unit"], row["ratio"]) for row in rows]
    gains = np.array([row["bytes_saved"] for row in rows], dtype=np.float64)
    mine = np.array([fast.cost_benefit(row) for row in fast.rows])
    loss_increase = np.array([row["loss_increase"] for row in rows])
    lost = np.array([original - float(str(row["accuracy"])) for row in rows])

    def accuracy(row: Row) -> float:
        assert row.score_lost is not None
        return row.score_lost.mean

    return {
        "ranking": spearman(mine, cost_benefits(loss_increase, gains, n)),
        "ranking_by_accuracy": spearman(mine, cost_benefits(lost, gains, n)),
        "accuracy_lost": spearman(np.array([accuracy(row) for row in fast.rows]), lost),
    }


def main() -> None:
    """Run both and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--ratio", default="0.5,1.0")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--samples", type=int, help="fewer than all, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    ratios = [float(ratio) for ratio in given.ratio.split(",")]
    data = open_dataset("cifar10")
    network = build(given.model, weights=given.weights)
    normalization = network.normalization or data.normalization
    calibration, samples = data.training.split(SHARES["training"])
    samples = samples.take(given.samples)
    config = SensitivityConfig(ratios=tuple(ratios))
    whole_pass(network.module, samples.take(BATCH), normalization)  # what runs first pays for what both need

    begin = time.perf_counter()
    fast = sensitivity(network.module, data.shape, samples, config, normalization, calibration=calibration)
    fast_s = time.perf_counter() - begin
    begin = time.perf_counter()
    original, rows = loop(network, data.shape, samples, calibration, normalization, ratios)
    loop_s = time.perf_counter() - begin

    alike = ranks_alike(fast, rows, original[0], len(samples))
    judged = sum(row.n for row in fast.rows) / len(samples) / len(rows)
    print(f"{len(rows)} cuts: {fast_s:.1f} s, the loop {loop_s:.1f} s: {loop_s / fast_s:.2f}x (at least 4)")
    print(f"Spearman correlation of the rankings {alike['ranking']:.4f} (at least 0.95), {json.dumps(alike)}")
    print(f"{100 * judged:.1f} % of all samples judged")
    document = {
        "network": network.name,
        "samples": len(samples),
        "cuts": len(rows),
        "threads": given.threads,
        "seconds": {"sensitivity": fast_s, "loop": loop_s},
        "ratio": loop_s / fast_s,
        "spearman": alike,
        "share_of_samples": judged,
        "original_accuracy": original[0],
        "loop": rows,
        "sensitivity": fast.to_json(),
        "machine": platform.processor() or platform.machine(),
    }
    if given.samples is None:
        RESULT.write_text(json.dumps(document, indent=2) + "\n")
        render()


def render() -> None:
    """Write the table and the plot of the result that is there."""
    document = json.loads(RESULT.read_text())
    seconds, alike, samples = document["seconds"], document["spearman"], document["samples"]
    rows = {
        "time": (f"{seconds['sensitivity']:.1f} s", f"{seconds['loop']:.1f} s"),
        "faster": (f"{document['ratio']:.1f} times", "1"),
        "samples judged, of each cut's": (f"{document['share_of_samples']:.1%}", "100%"),
        "Spearman correlation of the rankings, by loss increase": (f"{alike['ranking']:.4f}", "1"),
        "with the loop's ranking by accuracy": (f"{alike['ranking_by_accuracy']:.4f}", "1"),
        "of the accuracy lost alone, without what is saved": (f"{alike['accuracy_lost']:.4f}", "1"),
    }
    lines = [
        f"| {document['network']}, {document['cuts']} cuts, {samples} samples | `edgecnn sensitivity` | the loop |",
        "| --- | --- | --- |",
        *(f"| {what} | {fast} | {slow} |" for what, (fast, slow) in rows.items()),
    ]
    note = (
        f"CIFAR-10, {document['threads']} threads on {document['machine']}. The loop runs the whole network on all "
        "samples for each cut.\nBoth rank by loss increase (the probability of the right class that is lost) per byte "
        "saved, least first.\n"
    )
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n\n" + note)
    draw(document)


def draw(document: dict[str, Any]) -> None:
    """Draw each cut's place in both rankings, and the time both took."""
    import matplotlib.pyplot as plt

    loop, fast = document["loop"], document["sensitivity"]["rows"]
    assert [(row["unit"], row["ratio"]) for row in fast] == [(row["unit"], row["ratio"]) for row in loop]
    loss_increase, gains = (
        np.array([row[key] for row in loop], dtype=np.float64) for key in ("loss_increase", "bytes_saved")
    )
    places = cost_benefits(loss_increase, gains, document["samples"]).argsort(kind="stable").argsort() + 1
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), width_ratios=(2, 1))
    for of_layers, label, mark in ((False, "filters of a layer", "o"), (True, "a layer whole", "s")):
        chosen = [i for i, row in enumerate(fast) if (row["kind"] == LAYER) == of_layers]
        left.plot(places[chosen], [fast[i]["rank"] for i in chosen], mark, markersize=5, label=label)
    left.axline((1, 1), slope=1, color="gray", linewidth=0.8, zorder=0)
    left.set(xlabel="rank by all samples (the loop)", ylabel="rank by edgecnn sensitivity", aspect="equal")
    left.set_title(f"{document['cuts']} cuts of {document['network']}: Spearman {document['spearman']['ranking']:.3f}")
    left.legend()
    seconds = document["seconds"]
    bars = right.bar(["sensitivity", "loop"], [seconds["sensitivity"], seconds["loop"]], color=["C2", "gray"])
    right.bar_label(bars, fmt="%.0f s")
    right.margins(y=0.1)  # room for what stands above
    right.set(ylabel="seconds", title=f"{document['ratio']:.1f} times faster")
    figure.tight_layout()
    figure.savefig(RESULT.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    if sys.argv[1:] == ["render"]:
        render()
    else:
        main()
