"""The runs that deploy: a network of a study exported, verified, sized, timed, estimated, and fitted on devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.datasets import DataSource
from edgecnn.device import load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import estimate_latency
from edgecnn.estimate.work import graph_works
from edgecnn.fit import check_fit
from edgecnn.formats import Graph, read_graph
from edgecnn.progress import Progress, silent
from edgecnn.recipe import Calibration, Recipe
from edgecnn.study.definition import Study, Variant
from edgecnn.study.results import read_results
from edgecnn.study.training import Settings, cost_of

#: `edgecnn.pipeline.export_model`, which whoever calls hands in: it stands beside the studies, not below.
Export = Callable[..., Any]

#: A board to estimate for, and three microcontrollers to fit.
DEVICES = ("rpi4", "stm32h7a3", "stm32f746", "nrf5340")

#: Every file of a network is written, whatever it loses: an untrained one has nothing to lose.
_RECIPE = Recipe(
    "study",
    "Both formats, float and int8, without limits",
    {"onnx": ("fp32", "w8a8"), "tflite": ("fp32", "w8a8")},
    calibration=Calibration(64),
)
_SAMPLES = {True: 1000, False: 100}  # to verify on: of a trained network, whose accuracy counts, and of another
_EFFORT = BenchmarkConfig(processes=1, warmup_s=0.2, min_time_s=0.5, max_time_s=10, min_values=10)


@dataclass(frozen=True, kw_only=True)
class DeployRun:
    """One network of a study as files, and all that is known of them."""

    study: str
    variant: Variant
    settings: Settings
    export: Export
    devices: tuple[str, ...] = DEVICES
    checkpoint: str | None = None  # path of trained weights; None: untrained
    has_data: bool = True  # else calibrated and verified on noise
    timed: bool = True  # whether files are timed on this machine
    cost: float = 1.0

    @property
    def name(self) -> str:
        """`resnet101-cifar10.resnet101-v11`."""
        return f"{self.study}.{self.variant.name}"

    def identity(self) -> Mapping[str, Any]:
        """Return the network, its weights, its data and the devices."""
        return {
            "kind": "deployment",
            "model": self.variant.model,
            "classes": self.settings.classes,
            "weights": None if self.checkpoint is None else Path(self.checkpoint).name,
            "data": self.settings.data if self.has_data else "noise",
            "devices": list(self.devices),
            "timed": self.timed,
        }

    def execute(self, folder: Path, progress: Progress) -> Mapping[str, Any]:
        """Export the network, and take the figures of each file."""
        from edgecnn.nets.network import build
        from edgecnn.nets.size import size_of

        settings, shape = self.settings, self.settings.input_shape
        if self.checkpoint is not None:
            network = build(self.checkpoint)
        else:
            network = build(self.variant.model, classes=settings.classes, channels=shape[0])
        result = self.export(
            replace(network, name=self.variant.name),
            folder / self.name,
            recipe=replace(_RECIPE, evaluation_samples=_SAMPLES[self.checkpoint is not None]),
            data=DataSource(settings.dataset() if self.has_data else None, input_shape=shape),
            progress=progress,
        )
        size = size_of(self.variant.model, settings.classes, shape)
        files = [self._figures(file.path, file.to_json(), progress) for file in result.files]
        files += [{"file": file.path.name, "failed": file.reason} for file in result.failed]
        counted = {"params": size.params, "macs": size.operations.macs, "fvcore_flops": size.operations.fvcore_flops}
        return {"weights": self.checkpoint and Path(self.checkpoint).name, "counted": counted, "files": files}

    def _figures(self, path: Path, verified: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Return what is known of one file; each figure stands under how it came to be."""
        graph = read_graph(path)
        measured: dict[str, Any] = {"size_bytes": verified["size_bytes"], "accuracy": verified["accuracy"]}
        if self.timed:
            measured["p50_ns"] = measure(path, effort=_EFFORT, progress=progress).p50_ns
        return {
            "file": path.name,
            "format": verified["format"],
            "precision": verified["precision"],
            "failed": verified["rejected"],
            "parity": verified["parity"],
            "counted": operators_of(graph),
            "measured": measured,
            "estimated": {device: _estimate(graph, path, device) for device in self.devices},
        }


def operators_of(graph: Graph) -> dict[str, Any]:
    """Return the number of operators, those that only move values, and the share of depthwise multiply-adds."""
    kinds = Counter(operator.kind.upper().replace("_", "") for operator in graph.operators)
    macs = Counter[str]()
    for _, work in graph_works(graph):
        macs[work.kind] += work.macs
    total = sum(macs.values())
    moved = {kind: count for kind, count in kinds.items() if kind in _MOVING}
    return {
        "operators": sum(kinds.values()),
        "moving_operators": sum(moved.values()),
        "depthwise_share": macs["depthwise"] / total if total else 0.0,
    }


_MOVING = ("TRANSPOSE", "RESHAPE", "CONCATENATION", "CONCAT", "GATHER", "SLICE", "STRIDEDSLICE", "SPLIT", "PAD")


def _estimate(graph: Graph, path: Path, device: str) -> dict[str, Any]:
    """Return the verdict of `check_fit` for *device*, and the estimated latency where there are coefficients."""
    found: dict[str, Any] = {"fits": None, "arena_bytes": None, "p50_ns": None, "notes": []}
    try:
        report = check_fit(path, device)
        found |= {"fits": report.fits, "arena_bytes": report.arena_bytes}
        found["notes"] += [f"unsupported: {operator}" for operator in report.unsupported_operators[:3]]
    except EdgecnnError as error:
        # ONNX on a microcontroller, for example: what does not run there takes no time either.
        return found | {"notes": [str(error)]}
    try:
        found["p50_ns"] = estimate_latency(graph, device).p50_ns
    except EdgecnnError as error:
        found["notes"].append(str(error))
    return found


def deploy_runs(
    study: Study,
    variants: Sequence[Variant],
    export: Export,
    *,
    devices: Sequence[str] = DEVICES,
    runs: Path | None = None,
    data_dir: str | None = None,
    download: bool = False,
    timed: bool = True,
    progress: Progress = silent,
) -> list[DeployRun]:
    """Return a run for each of *variants*, with the most accurate trained weights of the folder *runs*.

    Without the study's data the files are calibrated and verified on noise, which each result says.

    Raises:
        EdgecnnError: unknown device or network, no such folder, or data that *data_dir* should have.
    """
    for device in devices:
        load_device(device)
    trained = {} if runs is None else _best_checkpoints(study, runs)
    settings = Settings(
        data=study.data, classes=study.classes, input_shape=study.input_shape, data_dir=data_dir, download=download
    )
    try:
        settings.dataset()
        has_data = True
    except EdgecnnError:
        if data_dir is not None or download:
            raise
        has_data = False
    made = []
    for done, variant in enumerate(variants):
        progress("counting", done, len(variants))
        cost = cost_of(study, variant) ** 0.5  # what takes time grows less than multiply-adds
        checkpoint = trained.get(variant.model)
        made.append(
            DeployRun(
                study=study.name,
                variant=variant,
                settings=settings,
                export=export,
                devices=tuple(devices),
                checkpoint=checkpoint,
                has_data=has_data,
                timed=timed,
                cost=cost,
            )
        )
    return made


def _best_checkpoints(study: Study, folder: Path) -> dict[str, str]:
    """Return the checkpoint of the most accurate training of each model on the study's data."""
    best: dict[str, tuple[float, str]] = {}
    for result in read_results(folder):
        if result.failed or result.identity.get("kind") != "training" or result.identity.get("data") != study.data:
            continue
        model, top1 = str(result.identity["model"]), float(result.figures["accuracy"]["top1"])
        if top1 > best.get(model, (-1.0, ""))[0]:
            best[model] = top1, str(folder / str(result.figures["checkpoint"]))
    return {model: path for model, (_, path) in best.items()}
