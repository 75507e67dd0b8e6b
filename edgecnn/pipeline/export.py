"""A network and its data in, verified files out."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.accuracy import chance_warning, check_finite, count_correct, no_classifier, outputs_of, plan_for
from edgecnn.benchmarks.compare import Outputs, parity_of
from edgecnn.benchmarks.inputs import class_scores
from edgecnn.benchmarks.verify import ExportedFile, broken_limit
from edgecnn.errors import EdgecnnError, telling_missing_packages
from edgecnn.export import CalibrationInputs, FileFacts, quantize
from edgecnn.export.bundle import write_bundle
from edgecnn.measurement import Accuracy
from edgecnn.normalization import Normalization, Resize
from edgecnn.pipeline.subject import Subject, check_classes, load_subject, named, original_outputs
from edgecnn.progress import Progress, silent
from edgecnn.recipe import Limits, Recipe, load_recipe
from edgecnn.samples import Samples

if TYPE_CHECKING:
    from edgecnn.nets.network import Network

REJECTED = ".rejected"  # what the name of a file that breaks a limit ends in


@dataclass(frozen=True)
class ExportResult:
    """Everything one export wrote."""

    files: tuple[ExportedFile, ...]
    reference_accuracy: Accuracy | None  # of the original network, on the same samples
    warnings: tuple[str, ...]
    no_accuracy: str | None = None  # why there is none, where there is none


@telling_missing_packages()
def export_model(
    model: str | Network,
    folder: Path | str,
    *,
    recipe: Recipe | str = "board",
    data: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    weights: str | Path | None = None,
    normalization: Normalization | None = None,
    resize: Resize | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    evaluation_samples: int | None = None,
    name: str | None = None,
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
        resize: how images in files come to the network's size; None: as the network says, else they just cover it.
        data_dir: where data sets lie; None: `$EDGECNN_DATA`.
        download: whether a data set that is not there may be fetched.
        evaluation_samples: how many evaluation samples to verify on; None: as the recipe says.
        name: of the files; None: as the network is known.
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
        resize=resize,
        data_dir=data_dir,
        download=download,
    )
    subject = named(subject, name)
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
    wanted = _wanted(subject, recipe, folder)
    samples = subject.data.evaluation.take(evaluation_samples or recipe.evaluation_samples)
    with _staged(folder) as staging:
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
    good = [file.artifact for file in files if file.rejected is None]
    write_bundle(good, recipe, folder, subject.name, subject.labels)
    chance = chance_warning("the network itself", reference.accuracy)
    warnings = (*subject.warnings, *chance, *_left_over(files, folder))
    return ExportResult(tuple(files), reference.accuracy, warnings, reference.no_accuracy)


def write_int8(subject: Subject, recipe: Recipe, folder: Path, progress: Progress = silent) -> Artifact:
    """Write the w8a8 TFLite file of *subject* to *folder* as an export by *recipe* would, without verifying it."""
    return _write(subject, _write_float(subject, "tflite", folder), "w8a8", recipe, folder, progress)


def _wanted(subject: Subject, recipe: Recipe, folder: Path) -> list[tuple[str, str]]:
    """Return the (format, precision) pairs to write.

    Raises:
        EdgecnnError: nothing of the recipe can be written from an ONNX file, or it would be written over that file.
    """
    wanted = [(name, precision) for name, precisions in recipe.files.items() for precision in precisions]
    if subject.source is None:
        return wanted
    wanted = [(name, precision) for name, precision in wanted if name != "tflite"]
    if not wanted:
        raise EdgecnnError(f"recipe {recipe.name} writes TFLite alone, which needs the torch network, not an ONNX file")
    targets = {(folder / f"{subject.name}.{precision}.{name}").resolve() for name, precision in wanted}
    if subject.source.path.resolve() in targets:
        raise EdgecnnError(f"{subject.source.path} would be written over; give another folder with -o")
    return wanted


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder within *folder*, where a rename is enough; a folder made in vain is taken away again."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".edgecnn-", dir=folder) as staging:
            yield Path(staging)
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()  # fails, as it should, where something is in it


def _left_over(files: list[ExportedFile], folder: Path) -> Iterator[str]:
    for file in files:
        earlier = folder / file.path.name.removesuffix(REJECTED)
        if file.rejected and earlier.exists():
            yield f"{earlier} is from an earlier export; the one just made was rejected"


@dataclass(frozen=True)
class _Reference:
    """The original network's outputs over the evaluation samples, kept on disk: they may be large images themselves."""

    folder: Path
    accuracy: Accuracy | None
    no_accuracy: str | None = None  # why there is none

    @classmethod
    def take(cls, subject: Subject, samples: Samples, folder: Path, progress: Progress) -> _Reference:
        folder.mkdir()
        correct = done = 0
        reason = "there are no labelled data" if samples.labels is None else None
        classes = len(subject.labels) if subject.labels else None
        for number, (labels, outputs) in enumerate(original_outputs(subject, samples, _threads())):
            check_finite(outputs, subject.name)
            np.savez(folder / f"{number:06d}.npz", *outputs)
            scores = class_scores(outputs)
            done += len(labels)
            if scores is None:
                reason = reason or no_classifier(subject.name, outputs)
            elif reason is None:
                check_classes(subject, scores.shape[1], ", npz:FILE without y, or --input to export without data")
                correct += count_correct(scores, labels, subject.name)
            progress("running the original network", done, len(samples))
        return cls(folder, None if reason else Accuracy(correct, done, classes=classes), reason)

    def __iter__(self) -> Iterator[Outputs]:
        for path in sorted(self.folder.iterdir()):
            with np.load(path) as stored:
                yield [stored[name] for name in stored.files]


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
    accuracy = None if reference.accuracy is None else Accuracy(correct, done, classes=reference.accuracy.classes)
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
    final = folder / (staged.name + (REJECTED if file.rejected else ""))
    if file.artifact.precision == "fp32":
        # The float file is still the source of those quantized from it.
        copy = staged.with_name(f"copy-{staged.name}")
        shutil.copyfile(staged, copy)
        os.replace(copy, final)
    else:
        os.replace(staged, final)
    delivered = replace(file, artifact=replace(file.artifact, path=final), path=final)
    result = delivered.to_json() | {
        "reference_accuracy": reference_accuracy and reference_accuracy.to_json(),
        "data": subject.data.name,
    }
    delivered.artifact.write_history(_history(subject, recipe, file, len(samples)), result)
    if not file.rejected:
        for stale in (f"{final.name}{REJECTED}", f"{final.name}{REJECTED}.json"):
            (folder / stale).unlink(missing_ok=True)
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
