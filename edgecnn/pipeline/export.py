"""A network and its data in, verified files out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data
from edgecnn.datasets.noise import NOISE
from edgecnn.device import load_device
from edgecnn.errors import EdgecnnError, explain_missing_packages
from edgecnn.evaluate.choice import TaskChoice, size_of_input
from edgecnn.evaluate.files import background_told, chance_warning
from edgecnn.evaluate.inputs import plan_for
from edgecnn.evaluate.layers import LayerNoise, layer_noise
from edgecnn.evaluate.run import Answered, run_artifact
from edgecnn.evaluate.verify import ExportedFile, FailedFile, broken_limit, unseen_drop
from edgecnn.export.bundle import COMPANIONS, write_bundle
from edgecnn.export.firmware import Firmware
from edgecnn.files import destination
from edgecnn.fit import arenas_to_set, not_counted, why_refused
from edgecnn.fit.advice import short_name
from edgecnn.formats import REJECTED
from edgecnn.formats.precision import MIXED, PRECISIONS
from edgecnn.locks import InUseError, Lock, PrivateFolder
from edgecnn.pipeline.comparison import Comparison, compare_on
from edgecnn.pipeline.reference import Reference
from edgecnn.pipeline.subject import Subject, check_outputs, load_subject, named, run_original
from edgecnn.pipeline.writer import Writer
from edgecnn.progress import Progress, silent
from edgecnn.recipe import AUTO, Limits, Recipe, load_recipe
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score, score_to_json
from edgecnn.tasks.task import drop_between

if TYPE_CHECKING:
    from edgecnn.nets.network import Model

_FEW = 1000  # samples; more tell a drop of a point
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "Cast", "CAST"})
_LAYER_SAMPLES = 8  # that show in which layer a rejected file loses its signal


@dataclass(frozen=True)
class ExportResult:
    """Everything one export wrote.

    `pandas.json_normalize([file.to_json() for file in result.files])` makes a table of it.
    """

    __repr__ = short_repr

    files: tuple[ExportedFile, ...]  # at least one
    reference: Score | None  # of the original network, on the same samples
    warnings: tuple[str, ...]
    no_score: str | None = None  # why there is none, where there is none
    failed: tuple[FailedFile, ...] = ()  # what of the recipe could not be written or verified
    comparison: Comparison | None = None  # of the files on the device that was named


@explain_missing_packages()
def export_model(
    model: Model,
    folder: Path | str,
    *,
    recipe: Recipe | Path | str = "board",
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    weights: str | Path | None = None,
    evaluation_samples: int | None = None,
    quantize: str | None = None,
    max_drop: float | None = None,
    integer_only: bool = False,
    device: str | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Export a network to every file of a recipe, each verified in its own runtime before it gets its name.

    Args:
        model: see `edgecnn.build`; an `nn.Module` needs data, or a `DataSource` with an *input_shape*; or an `.onnx`
            file.
        folder: created where missing; files of earlier exports with the same names are replaced, whole.
        recipe: a `Recipe`, or the name or path of one.
        data: a data set, as `open_dataset` takes it: a name, a `Dataset`, a DataLoader, arrays or a `DataSource`; None,
            or a source without data: noise, and no score.
        task: what the network does: a name in `TASKS`, or a `TaskChoice` with a metric or a decoder; None: as the
            network says, else as the data say, else it is compared with its files alone.
        weights: see `edgecnn.build`.
        evaluation_samples: how many evaluation samples to verify on; None: as the recipe says.
        quantize: how w8a8 files are made: `minmax`, steps such as `adaround,bias`, or `auto`, which tries them; None:
            as the recipe says, or `auto` with *max_drop*.
        max_drop: the score that each file may lose, as a fraction (0.005: half a point); None: as the recipe says.
            Where an int8 file loses more on samples held back from calibration, up to three layers stay in float.
        integer_only: whether w8a8 files compute in integers alone; one that does not is rejected.
        device: where the files' latencies are compared, estimated for it or measured (`host`), also of what layers in
            float cost; None: nothing is compared, and layers in float are measured on this machine.
        name: of the files; None: as the network is known.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: something is not there or does not fit, the network's own outputs are not finite, or no file of
            the recipe could be exported; where some could, the others are `failed` in the result.

    Example:
        >>> result = edgecnn.export_model("edgecnn:digits-cnn", "out", data="digits", recipe="x86")
        >>> [file.path.name for file in result.files]
        ['digits-cnn.fp32.onnx', 'digits-cnn.w8a8.onnx']
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    chosen = _with_limits(chosen, quantize, max_drop)
    if integer_only:
        chosen = replace(chosen, integer_only=True)
    if device is not None:
        load_device(device)  # one that is unknown is told before the work
    subject = load_subject(
        model,
        data=data,
        task=task,
        weights=weights,
    )
    subject = named(subject, name)
    return export_subject(
        subject, chosen, Path(folder), evaluation_samples=evaluation_samples, device=device, progress=progress
    )


def _with_limits(recipe: Recipe, quantize: str | None, max_drop: float | None) -> Recipe:
    """Return *recipe* with int8 files made by *quantize*, and *max_drop* for every file; None: as it says.

    Raises:
        EdgecnnError: an unknown step, or a drop that is no fraction.
    """
    if max_drop is not None:
        precisions = {precision for chosen in recipe.files.values() for precision in chosen}
        limits = {p: replace(recipe.limits.get(p, Limits()), max_drop=max_drop) for p in precisions}
        recipe = replace(recipe, limits={**recipe.limits, **limits})
        quantize = quantize or AUTO
    return recipe if quantize is None else replace(recipe, quantize=quantize)


def export_subject(
    subject: Subject,
    recipe: Recipe,
    folder: Path,
    *,
    evaluation_samples: int | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write every file of *recipe* for *subject* to *folder*: `export_model` once network and data are found."""
    wanted = _wanted(subject, recipe, folder)
    samples = subject.data.evaluation.take(evaluation_samples or recipe.evaluation_samples)
    files: list[ExportedFile] = []
    failed: list[FailedFile] = []
    notes: list[str] = []
    _check_places(wanted, subject.name, folder)
    with _staged(folder) as staging:
        reference = _original(subject, samples, staging / "reference", progress)
        writer = Writer(subject, recipe, staging, progress, device=device)
        for format_name, precision in wanted:
            path = folder / f"{subject.name}.{precision}.{format_name}"
            progress(f"writing {format_name} {precision}")
            step = f"writing {path.name}"
            stopped: KeyboardInterrupt | None = None
            try:
                try:
                    artifact = writer.write(format_name, precision)
                except KeyboardInterrupt as interruption:
                    # What a search has found so far is kept, and then the work ends; a second one ends it at once.
                    stopped, progress = interruption, silent
                    artifact = writer.found_so_far(format_name, precision, interruption)
                step = f"verifying {path.name}"
                verified = _verify(artifact, precision, subject, samples, reference, recipe, progress)
                if (found := writer.found_for(artifact)) is not None:
                    verified = replace(verified, attempts=found.attempts)
                    notes += found.notes
                if verified.breaks_limit and format_name == "tflite" and precision != "fp32":
                    float_file = writer.write("tflite", "fp32")
                    verified = replace(verified, layers=_layers(float_file, artifact, subject))
            except Exception as error:
                failed.append(FailedFile.of(error, path, format_name, precision, step))
                continue
            files.append(_deliver(verified, subject, recipe, folder, samples, reference.score))
            if stopped is not None:
                stopped.add_note(f"the best int8 file so far is '{files[-1].path}'")
                raise stopped
        if not files:
            reasons = dict.fromkeys(file.reason for file in failed)
            raise EdgecnnError("; ".join(reasons)) from failed[0].error
    good = [file.artifact for file in files if file.rejected is None]
    facts = {file.path: firmware for file in good if (firmware := _firmware(file, recipe, subject)) is not None}
    write_bundle(good, recipe, folder, subject.name, subject.labels, facts)
    losses = [
        text
        for file in files
        for text in (*file.artifact.contradictions, *map(str, file.artifact.metadata.get("notes") or ()))
    ]
    bad = [file.path for file in files if file.rejected] + [file.path for file in failed]
    made = {file.path.name.removesuffix(REJECTED) for file in files}
    replaced = [f"{subject.name}.{precision}.{format_name}" for format_name, precision in wanted]
    chance = chance_warning("the network itself", reference.score)
    background = background_told(subject.name, reference.score) if reference.score else ()
    told = (
        *chance,
        *background,
        *unseen_drop(files, _loosest(recipe) or 0.0),
        *dict.fromkeys(losses),
        *_left_over(bad, folder),
        *notes,
        *(
            f"{folder / name} is from an earlier export; the one just made is named after its precision"
            for name in replaced
            if name not in made and (folder / name).exists() and not any(path.name.startswith(name) for path in bad)
        ),
    )
    warnings = (*subject.warnings, *writer.warnings, *told)
    comparison = None if device is None else compare_on(files, device, progress)
    return ExportResult(
        tuple(files), reference.score, warnings, reference.judgement.no_score, tuple(failed), comparison
    )


def write_int8(subject: Subject, recipe: Recipe, folder: Path, progress: Progress = silent) -> Artifact:
    """Write the w8a8 TFLite file of *subject* to *folder* as an export by *recipe* would, without verifying it."""
    return Writer(subject, recipe, folder, progress).write("tflite", "w8a8")


def _wanted(subject: Subject, recipe: Recipe, folder: Path) -> list[tuple[str, str]]:
    """Return the (format, precision) pairs to write.

    Raises:
        EdgecnnError: one would be written over the ONNX file that is exported.
    """
    wanted = [(name, precision) for name, precisions in recipe.files.items() for precision in precisions]
    if subject.source is None:
        return wanted
    targets = {(folder / f"{subject.name}.{precision}.{name}").resolve() for name, precision in wanted}
    for source in subject.source.files:
        if source.resolve() in targets:
            raise EdgecnnError(f"{source} would be overwritten; give another folder with -o")
    return wanted


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder within *folder*, where a rename is enough; a folder made in vain is taken away again."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder), PrivateFolder(folder) as staging:
            yield Path(staging)
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()  # fails, as it should, where something is in it


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other exports out of *folder*, so that each file and what lies beside it come from the same one.

    Raises:
        EdgecnnError: one is at work there.
    """
    try:
        lock = Lock(folder / ".edgecnn.lock")
    except InUseError as error:
        who = "another process" if error.pid is None else f"process {error.pid}"
        raise EdgecnnError(f"{who} is exporting to '{folder}': wait for it, or give another folder with -o") from None
    with lock:
        yield


def _check_places(wanted: list[tuple[str, str]], name: str, folder: Path) -> None:
    """See before the work that every file can get its name in *folder*, whether it is good or rejected.

    Raises:
        EdgecnnError: a name is too long, or taken by what is no file.
    """
    mixed = [(format_name, MIXED) for format_name, precision in wanted if PRECISIONS[precision].calibrated]
    for format_name, precision in (*wanted, *mixed):
        file = f"{name}.{precision}.{format_name}"
        for beside in ("", ".json", REJECTED, f"{REJECTED}.json", *COMPANIONS):
            destination(folder / f"{file}{beside}")
    destination(folder / f"{name}.labels.txt")


def _left_over(bad: list[Path], folder: Path) -> Iterator[str]:
    for path in bad:
        earlier = folder / path.name.removesuffix(REJECTED)
        if earlier.exists():
            what = "was rejected" if path.name.endswith(REJECTED) else "failed"
            yield f"{earlier} is from an earlier export; the one just made {what}"


def _original(subject: Subject, samples: Samples, folder: Path, progress: Progress) -> Reference:
    """Run the original network over *samples* and keep its outputs in the new *folder*."""

    def answers() -> Iterator[Answered]:
        done = 0
        for number, answered in enumerate(run_original(subject, samples, _threads())):
            if not number:
                check_outputs(subject, answered.outputs)
            done += len(answered.batch.x)
            progress("running the original network", done, len(samples))
            yield answered

    return Reference.take(answers(), subject.judge, subject.name, folder)


def _verify(
    artifact: Artifact,
    precision: str,
    subject: Subject,
    samples: Samples,
    reference: Reference,
    recipe: Recipe,
    progress: Progress,
) -> ExportedFile:
    """Run *artifact* in its own runtime over the samples and judge it by the recipe's limits."""
    plan = plan_for(artifact, samples, subject.normalization, None)
    judgement = subject.judge.judge(
        run_artifact(artifact, samples, plan, threads=_threads()),
        artifact.path.name,
        originals=reference,
        centred=subject.data.name != NOISE,
        step=f"verifying {artifact.path.name}",
        total=len(samples),
        progress=progress,
    )
    parity = judgement.parity
    assert parity is not None
    score = judgement.scores[0] if judgement.scores else None
    limits = recipe.limits.get(precision, Limits())
    broken = broken_limit(limits, parity, score, reference.score)
    breaks_limit = broken is not None
    floats = artifact.graph.float_operators() if PRECISIONS[precision].calibrated else ()
    if broken is None and recipe.runtime is not None:
        broken = why_refused(artifact.graph)
    if broken is None and recipe.integer_only:
        broken = _not_integer(floats)
    most_lost = None
    if score is not None and score.n < _FEW and limits.max_drop == _loosest(recipe):
        metric = next((metric for metric in subject.judge.task.metrics if metric.name == score.name), None)
        records = [judged.records.get(score.name) for judged in (reference.judgement, judgement)]
        if metric is not None and records[0] is not None and records[1] is not None:
            _, _, most_lost = drop_between(metric, records[0], records[1])
    return ExportedFile(
        artifact=artifact,
        scores=judgement.scores,
        parity=parity,
        float_operators=floats,
        rejected=broken,
        path=artifact.path,
        breaks_limit=breaks_limit,
        most_lost=most_lost,
    )


def _loosest(recipe: Recipe) -> float | None:
    """Return the largest drop that *recipe* allows a file: that of the most quantized ones."""
    return max((limits.max_drop for limits in recipe.limits.values() if limits.max_drop is not None), default=None)


def _not_integer(floats: Sequence[tuple[str, str]]) -> str | None:
    """Return the sentence that names the operators that compute in *floats*; None where none does."""
    named = [f"{kind} ({short_name(output)})" for kind, output in floats if kind not in _CONVERSIONS]
    if not named:
        return None
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"no integer kernel computes {', '.join(named[:3])}{more}, and integer-only allows no other"


def _layers(float_file: Artifact, artifact: Artifact, subject: Subject) -> tuple[LayerNoise, ...]:
    """Return where a rejected file loses its signal; nothing where the runtime cannot show it."""
    try:
        return layer_noise(float_file, artifact, subject.data.calibration(_LAYER_SAMPLES), subject.normalization)
    except (EdgecnnError, ImportError, RuntimeError, ValueError):
        return ()


def _deliver(
    file: ExportedFile,
    subject: Subject,
    recipe: Recipe,
    folder: Path,
    samples: Samples,
    reference: Score | None,
) -> ExportedFile:
    """Give a verified file its name in *folder*, with its history beside it."""
    name = file.artifact.path.name + (REJECTED if file.rejected else "")
    # What was made from the earlier file goes first: killed in between, a file never has another one's beside it.
    for companion in (".json", *COMPANIONS):
        destination(folder / f"{name}{companion}").unlink(missing_ok=True)
    # A copy: the float file is still the source of those quantized from it.
    artifact = file.artifact.copied_to(folder / name)
    delivered = replace(file, artifact=artifact, path=artifact.path)
    result = delivered.to_json() | {
        **reference_to_json(reference),
        "data": subject.data.name,
    }
    firmware = None if file.rejected else _firmware(artifact, recipe, subject)
    if firmware is not None:
        result["firmware"] = firmware.to_json()
    delivered.artifact.write_history(_history(subject, recipe, file, len(samples)), result)
    if not file.rejected:
        for stale in (f"{name}{REJECTED}", f"{name}{REJECTED}.json"):
            (folder / stale).unlink(missing_ok=True)
    return delivered


def reference_to_json(score: Score | None) -> dict[str, Any]:
    """Return `reference_accuracy` and `reference_score`, of which one is null at least."""
    return {f"reference_{key}": value for key, value in score_to_json(score).items()}


def _firmware(artifact: Artifact, recipe: Recipe, subject: Subject) -> Firmware | None:
    """Return what firmware needs to know of *artifact*, where *recipe* asks for its C array."""
    if artifact.format != "tflite" or "c_array" not in recipe.bundle:
        return None
    is_micro = recipe.runtime is not None
    arenas = arenas_to_set(artifact.graph) if is_micro else {}
    return Firmware.of(artifact, subject.labels, arenas, not_counted(artifact.graph) if is_micro else ())


def _history(subject: Subject, recipe: Recipe, file: ExportedFile, n: int) -> list[dict[str, Any]]:
    metadata = file.artifact.metadata
    checkpoint = subject.network.checkpoint if subject.network else None
    earlier = [json.loads(json.dumps(dict(step))) for step in checkpoint.history] if checkpoint else []
    steps: list[dict[str, Any]] = [
        *earlier,
        {"step": "build", "model": subject.name, "weights_sha256": metadata.get("weights_sha256")},
        {"step": f"to_{file.artifact.format}", "tools": metadata.get("tools"), "input_shape": list(subject.shape)},
    ]
    if metadata.get("rearranged"):
        steps.append({"step": "rearrange", **metadata["rearranged"]})
    if metadata.get("precision") != "fp32":
        steps.append(
            {
                "step": "quantize",
                "precision": metadata.get("precision"),
                "recipe": recipe.name,
                "calibration": metadata.get("calibration"),
                "calibration_samples": metadata.get("calibration_samples"),
                "quantize": metadata.get("quantize"),
                "in_float": metadata.get("in_float"),
                "equalization": metadata.get("equalization"),
                "corrections": metadata.get("corrections"),
                "attempts": [attempt.to_json() for attempt in file.attempts],
            }
        )
    judged_by = subject.choice.to_json(size_of_input(subject.shape))
    steps.append({"step": "verify", "data": subject.data.name, "n": n, "method": "measured", **judged_by})
    return steps


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
