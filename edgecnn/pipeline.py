"""The steps in a row: a network and its data in, verified files out."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.accuracy import check_finite, count_correct, outputs_of, plan_for
from edgecnn.benchmarks.compare import Outputs, parity_of
from edgecnn.benchmarks.inputs import class_scores
from edgecnn.benchmarks.verify import ExportedFile, broken_limit
from edgecnn.datasets import Dataset, open_dataset
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError
from edgecnn.export import CalibrationInputs, FileFacts, quantize
from edgecnn.export.bundle import write_bundle
from edgecnn.files import check_writable
from edgecnn.measurement import Accuracy
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.recipe import Limits, Recipe, load_recipe
from edgecnn.samples import Samples

if TYPE_CHECKING:
    from edgecnn.compress.prune import Size
    from edgecnn.nets.network import Network

NOISE_SAMPLES = 32


@dataclass(frozen=True)
class Subject:
    """What is exported: a network or an ONNX file, its data, and how they fit together."""

    name: str
    network: Network | None  # None where the source is an ONNX file
    source: Artifact | None  # the ONNX file
    data: Dataset
    shape: tuple[int, ...]  # (C, H, W)
    normalization: Normalization | None
    labels: tuple[str, ...] | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ExportResult:
    """Everything one export wrote."""

    files: tuple[ExportedFile, ...]
    reference_accuracy: Accuracy | None  # of the original network, on the same samples
    warnings: tuple[str, ...]


def load_subject(
    model: str | Network,
    *,
    data: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    weights: str | Path | None = None,
    normalization: Normalization | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
) -> Subject:
    """Find the network *model* and its data, and see that they belong together; arguments as for `export_model`.

    Raises:
        EdgecnnError: one of them is not there, or they do not fit each other.
    """
    side = (input_shape[1], input_shape[2]) if input_shape and len(input_shape) == 3 else None
    dataset = open_dataset(data, data_dir, download=download, side=side) if data else None
    if isinstance(model, str) and model.endswith(".onnx"):
        return _onnx_subject(Artifact.open(model), dataset, input_shape, normalization)
    from edgecnn.nets.network import build

    classes = len(dataset.labels) if dataset and dataset.labels else None
    known_shape = dataset.shape if dataset else input_shape
    channels = known_shape[0] if known_shape else None
    network = build(model, weights=weights, classes=classes, channels=channels) if isinstance(model, str) else model
    own = network.input_shape
    if data and data.startswith("folder:") and side is None and own and len(own) == 3:
        dataset = open_dataset(data, data_dir, side=(own[1], own[2]))
    warnings = list(network.warnings)
    if dataset is None:
        shape = input_shape or own
        if shape is None:
            raise EdgecnnError(f"{network.name} does not say its input's shape: give --data, or --input 1x3x224x224")
        dataset = noise(shape, NOISE_SAMPLES)
        warnings.append(
            "no --data: calibrated on noise, so an int8 file's accuracy is unknown and likely poor; use it for "
            "latency and memory alone"
        )
    shape = dataset.shape
    if input_shape and input_shape != shape:
        raise EdgecnnError(f"--input says {list(input_shape)}, data set '{dataset.name}' gives {list(shape)}")
    chosen = normalization or network.normalization or dataset.normalization
    labels = network.labels or dataset.labels
    return Subject(network.name, network, None, dataset, shape, chosen, labels, tuple(warnings))


def _onnx_subject(
    artifact: Artifact, dataset: Dataset | None, input_shape: tuple[int, ...] | None, given: Normalization | None
) -> Subject:
    if dataset is None:
        dataset = noise(input_shape or tuple(artifact.inputs[0].shape[1:]), NOISE_SAMPLES)
    plan = plan_for(artifact, dataset.evaluation, given, dataset.normalization)
    warnings = (*plan.assumptions, "the source is an ONNX file: TFLite needs the torch network and is left out")
    labels = tuple(artifact.metadata.get("labels") or ()) or dataset.labels
    name = artifact.path.stem.removesuffix(".fp32")
    return Subject(name, None, artifact, dataset, dataset.shape, plan.normalization, labels, warnings)


def export_model(
    model: str | Network,
    folder: Path | str,
    *,
    recipe: Recipe | str = "board",
    data: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    weights: str | Path | None = None,
    normalization: Normalization | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    evaluation_samples: int | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Export a network to every file of a recipe, each verified in its own runtime before it gets its name.

    Args:
        model: see `edgecnn.build`; or an `.onnx` file (no TFLite then); or a `Network` at hand.
        folder: created where missing; files of earlier exports with the same names are replaced, whole.
        recipe: a `Recipe`, or the name or path of one.
        data: a data set's name; None: noise of *input_shape*, and no accuracy.
        input_shape: (C, H, W); None: as the data give it.
        weights: see `edgecnn.build`.
        normalization: how pixels become inputs; None: as the network says, else as the data set does.
        data_dir: where data sets lie; None: `$EDGECNN_DATA`.
        download: whether a data set that is not there may be fetched.
        evaluation_samples: how many evaluation samples to verify on; None: as the recipe says.
        progress: told the steps.

    Raises:
        EdgecnnError: something is not there, does not fit, cannot be exported, or gives outputs that are not finite.
    """
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    subject = load_subject(
        model,
        data=data,
        input_shape=input_shape,
        weights=weights,
        normalization=normalization,
        data_dir=data_dir,
        download=download,
    )
    return export_subject(subject, chosen, Path(folder), evaluation_samples=evaluation_samples, progress=progress)


def export_subject(
    subject: Subject,
    recipe: Recipe,
    folder: Path,
    *,
    evaluation_samples: int | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write every file of *recipe* for *subject* to *folder*: `export_model` once network and data are found."""
    wanted = [(name, precision) for name, precisions in recipe.files.items() for precision in precisions]
    if subject.network is None:
        wanted = [(name, precision) for name, precision in wanted if name != "tflite"]
        if not wanted:
            raise EdgecnnError(
                f"recipe {recipe.name} writes TFLite alone, which needs the torch network, not an ONNX file"
            )
    folder.mkdir(parents=True, exist_ok=True)
    samples = subject.data.evaluation.take(evaluation_samples or recipe.evaluation_samples)
    with tempfile.TemporaryDirectory(prefix=".edgecnn-", dir=folder) as staging_name:
        staging = Path(staging_name)
        progress("running the original network", 0, len(samples))
        reference = _Reference.take(subject, samples, staging / "reference", progress)
        floats: dict[str, Artifact] = {}
        files = []
        for format_name, precision in wanted:
            progress(f"writing {format_name} {precision}")
            if format_name not in floats:
                floats[format_name] = _write_float(subject, format_name, staging)
            artifact = _write(subject, floats[format_name], precision, recipe, staging, progress)
            verified = _verify(artifact, subject, samples, reference, recipe, progress)
            files.append(_deliver(verified, subject, recipe, folder, samples, reference.accuracy))
    write_bundle(
        [file.artifact for file in files if file.rejected is None], recipe, folder, subject.name, subject.labels
    )
    return ExportResult(tuple(files), reference.accuracy, subject.warnings)


@dataclass(frozen=True)
class _Reference:
    """The original network's outputs over the evaluation samples, kept on disk: they may be large images themselves."""

    folder: Path
    accuracy: Accuracy | None

    @classmethod
    def take(cls, subject: Subject, samples: Samples, folder: Path, progress: Progress) -> _Reference:
        folder.mkdir()
        correct = done = 0
        labelled = samples.labels is not None
        for number, (labels, outputs) in enumerate(_original_outputs(subject, samples)):
            check_finite(outputs, subject.name)
            np.savez(folder / f"{number:06d}.npz", *outputs)
            scores = class_scores(outputs)
            done += len(labels)
            labelled = labelled and scores is not None
            if labelled and scores is not None:
                _check_classes(subject, scores.shape[1])
                correct += count_correct(scores, labels, subject.name)
            progress("running the original network", done, len(samples))
        return cls(folder, Accuracy(correct, done) if labelled else None)

    def __iter__(self) -> Iterator[Outputs]:
        for path in sorted(self.folder.iterdir()):
            with np.load(path) as stored:
                yield [stored[name] for name in stored.files]


def _original_outputs(subject: Subject, samples: Samples) -> Iterator[tuple[npt.NDArray[np.int64], Outputs]]:
    if subject.network is None:
        assert subject.source is not None
        plan = plan_for(subject.source, samples, subject.normalization, None)
        yield from outputs_of(subject.source, samples, plan, threads=_threads())
        return
    for batch in samples:
        x = batch.x
        if x.dtype == np.uint8:
            x = (subject.normalization or Normalization()).apply(x)
        labels = np.full(len(x), -1) if batch.y is None else batch.y
        yield labels, subject.network.outputs(np.ascontiguousarray(x))


def _check_classes(subject: Subject, classes: int) -> None:
    known = subject.data.labels
    if known is not None and len(known) != classes:
        raise EdgecnnError(
            f"{subject.name} tells {classes} classes apart, data set '{subject.data.name}' has {len(known)}; "
            "use the data it was trained on, npz:FILE without y, or --input to export without data"
        )


def _facts(subject: Subject) -> FileFacts:
    source = subject.source.metadata.get("weights_sha256") or subject.source.sha256 if subject.source else None
    return FileFacts(
        model=subject.name,
        normalization=subject.normalization,
        labels=subject.labels,
        weights_sha256=subject.network.weights_sha256() if subject.network else source,
    )


def _write_float(subject: Subject, format_name: str, staging: Path) -> Artifact:
    path = staging / f"{subject.name}.fp32.{format_name}"
    facts = _facts(subject)
    if subject.network is None:
        from edgecnn.export.onnx import simplify_onnx

        assert subject.source is not None
        return simplify_onnx(subject.source, path, facts)
    if format_name == "onnx":
        from edgecnn.export.onnx import to_onnx

        return to_onnx(subject.network.module, path, subject.shape, facts)
    from edgecnn.export.tflite import to_tflite

    return to_tflite(subject.network.module, path, subject.shape, facts)


def _write(
    subject: Subject, float_file: Artifact, precision: str, recipe: Recipe, staging: Path, progress: Progress
) -> Artifact:
    if precision == "fp32":
        return float_file
    path = staging / f"{subject.name}.{precision}.{float_file.format}"
    samples = subject.data.calibration(recipe.calibration.samples)
    calibration = CalibrationInputs(samples, subject.normalization, subject.data.name)
    return quantize(float_file, path, precision, recipe=recipe, calibration=calibration, progress=progress)


def _verify(
    artifact: Artifact,
    subject: Subject,
    samples: Samples,
    reference: _Reference,
    recipe: Recipe,
    progress: Progress,
) -> ExportedFile:
    """Run *artifact* in its own runtime over the samples and judge it by the recipe's limits."""
    plan = plan_for(artifact, samples, subject.normalization, None)
    correct = done = 0

    def pairs() -> Iterator[tuple[Outputs, Outputs]]:
        nonlocal correct, done
        runs = outputs_of(artifact, samples, plan, threads=_threads())
        for original, (labels, outputs) in zip(reference, runs, strict=True):
            scores = class_scores(outputs)
            if reference.accuracy is not None and scores is not None:
                correct += count_correct(scores, labels, artifact.path.name)
            done += len(labels)
            progress(f"verifying {artifact.path.name}", done, len(samples))
            yield original, outputs

    parity = parity_of(pairs())
    accuracy = None if reference.accuracy is None else Accuracy(correct, done)
    limits = recipe.limits.get(artifact.precision, Limits())
    broken = broken_limit(limits, parity, accuracy, reference.accuracy)
    floats = artifact.graph.float_operators() if artifact.precision == "w8a8" else ()
    return ExportedFile(artifact, accuracy, parity, floats, broken, artifact.path)


def _deliver(
    file: ExportedFile,
    subject: Subject,
    recipe: Recipe,
    folder: Path,
    samples: Samples,
    reference_accuracy: Accuracy | None,
) -> ExportedFile:
    """Give a verified file its name in *folder*, with its history beside it."""
    staged = file.artifact.path
    suffix = ".rejected" if file.rejected else ""
    final = folder / (staged.name + suffix)
    if staged.name.split(".")[-2] == "fp32":
        # The float file is still the source of those quantized from it.
        copy = staged.with_name("copy-" + staged.name)
        os.link(staged, copy)
        os.replace(copy, final)
    else:
        os.replace(staged, final)
    delivered = replace(file, artifact=replace(file.artifact, path=final), path=final)
    result = delivered.to_json() | {
        "reference_accuracy": reference_accuracy and reference_accuracy.to_json(),
        "data": subject.data.name,
    }
    delivered.artifact.write_history(_history(subject, recipe, file, len(samples)), result)
    return delivered


def _history(subject: Subject, recipe: Recipe, file: ExportedFile, n: int) -> list[dict[str, Any]]:
    metadata = file.artifact.metadata
    checkpoint = subject.network.checkpoint if subject.network else None
    earlier = [json.loads(json.dumps(dict(step))) for step in checkpoint.history] if checkpoint else []
    steps: list[dict[str, Any]] = [
        *earlier,
        {"step": "build", "model": subject.name, "weights_sha256": metadata.get("weights_sha256")},
        {"step": f"to_{file.artifact.format}", "tools": metadata.get("tools"), "input_shape": list(subject.shape)},
    ]
    if file.artifact.precision != "fp32":
        steps.append(
            {
                "step": "quantize",
                "precision": file.artifact.precision,
                "recipe": recipe.name,
                "calibration": metadata.get("calibration"),
                "calibration_samples": metadata.get("calibration_samples"),
            }
        )
    steps.append({"step": "verify", "data": subject.data.name, "n": n, "method": "measured"})
    return steps


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class CompressResult:
    """A compressed network beside the original, both judged on the same evaluation samples."""

    path: Path
    before: Size
    after: Size
    accuracy_before: Accuracy
    accuracy_after: Accuracy

    def to_json(self) -> dict[str, Any]:
        """Return the document of `edgecnn compress --json`."""
        return {
            "path": str(self.path),
            "params": {"before": self.before.params, "after": self.after.params},
            "macs": {"before": self.before.macs, "after": self.after.macs},
            "accuracy": {"before": self.accuracy_before.to_json(), "after": self.accuracy_after.to_json()},
        }


def compress_model(
    model: str | Network,
    path: Path | str,
    *,
    data: str,
    pruning_ratio: float = 0.5,
    criterion: str = "l2",
    round_to: int = 1,
    epochs: int = 10,
    learning_rate: float = 3e-3,
    weights: str | Path | None = None,
    normalization: Normalization | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    progress: Progress = silent,
) -> CompressResult:
    """Prune whole filters of a network, fine-tune it, and write it to *path* as a `Checkpoint`.

    Args:
        model: see `edgecnn.build`; an exported program cannot be pruned.
        path: the `.safetensors` file to write.
        data: a data set's name; its evaluation part is touched once, at the end.
        pruning_ratio: of the channels of every prunable layer, in [0, 1).
        criterion: `l1` or `l2`.
        round_to: channel counts become multiples of it.
        epochs: of fine-tuning.
        learning_rate: the peak of its one cycle.
        weights: see `edgecnn.build`.
        normalization: how pixels become inputs; None: as the network says, else as the data set does.
        data_dir: where data sets lie.
        download: whether a data set that is not there may be fetched.
        progress: told the epochs.

    Raises:
        EdgecnnError: bad arguments, a network that cannot be rebuilt or pruned, or a loss that is no number.
    """
    from edgecnn.compress.prune import PruneConfig, prune, size_of
    from edgecnn.compress.train import TrainConfig, train
    from edgecnn.nets.evaluate import accuracy_of

    config, schedule = (
        PruneConfig(pruning_ratio, criterion, round_to),
        TrainConfig(epochs=epochs, learning_rate=learning_rate),
    )
    path = Path(path)
    if path.suffix != ".safetensors":
        raise EdgecnnError(f"{path}: a checkpoint's name ends in .safetensors")
    check_writable(path)
    subject = load_subject(
        model, data=data, weights=weights, normalization=normalization, data_dir=data_dir, download=download
    )
    if subject.network is None or subject.network.checkpoint is None:
        raise EdgecnnError(f"{model}: an exported program cannot be pruned; name the network that it was made from")
    network, checkpoint = subject.network, subject.network.checkpoint
    pruned = prune(network.module, subject.shape, config)
    tuned = train(pruned, subject.data.training, schedule, subject.normalization, progress)
    small = replace(network, module=tuned)
    result = CompressResult(
        path,
        size_of(network.module, subject.shape),
        size_of(tuned, subject.shape),
        accuracy_of(network, subject.data.evaluation, subject.normalization),
        accuracy_of(small, subject.data.evaluation, subject.normalization),
    )
    steps: list[dict[str, Any]] = []
    if pruning_ratio:
        steps.append({"step": "prune", "pruning_ratio": pruning_ratio, "criterion": criterion, "round_to": round_to})
    if epochs:
        steps.append({"step": "train", **asdict(schedule), "data": subject.data.name})
    replace(
        checkpoint,
        input_shape=subject.shape,
        normalization=subject.normalization,
        labels=subject.labels,
        accuracy=result.accuracy_after.to_json(),
        data=subject.data.name,
        history=(*checkpoint.history, *steps),
    ).save(path, tuned)
    return result
