"""Find a network and its data, and see that they belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data, Dataset, DataSource, open_dataset
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.evaluate.choice import TaskChoice, choose, size_of_input
from edgecnn.evaluate.inputs import image_of, plan_for, shapes_of_inputs
from edgecnn.evaluate.judge import Judge
from edgecnn.evaluate.run import Answered, run_artifact, run_network
from edgecnn.normalization import Normalization, Resize
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr
from edgecnn.tasks import TASKS
from edgecnn.tasks.classification import class_scores
from edgecnn.tasks.decoders import decoder_to_json
from edgecnn.tasks.score import Score
from edgecnn.tasks.task import Outputs

if TYPE_CHECKING:
    from edgecnn.nets.network import Model, Network

NOISE_SAMPLES = 32
_COMPARED = 64  # training samples that show whether another normalization suits the network better


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is exported: a network or an ONNX file, its data, and how they fit together."""

    __repr__ = short_repr

    name: str
    network: Network | None  # None where the source is an ONNX file
    source: Artifact | None  # the ONNX file
    data: Dataset
    shape: tuple[int, ...]  # (C, H, W)
    normalization: Normalization | None
    labels: tuple[str, ...] | None
    warnings: tuple[str, ...]
    choice: TaskChoice  # what it is judged as: what the user says, else the network, else the data
    judge: Judge  # by that choice

    @property
    def is_classifier(self) -> bool:
        """Whether its outputs are judged as one score for each class."""
        return self.judge.task.name == "classification" and self.judge.decode is None

    @property
    def has_targets(self) -> bool:
        """Whether the data say what is right."""
        return self.data.evaluation.labels is not None


#: The attribute by which the class of a network says what it does.
ATTRIBUTE = "edgecnn_task"


def load_subject(
    model: Model,
    *,
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    weights: str | Path | None = None,
    seen: Callable[[Network], None] | None = None,
    in_torch: bool = False,
) -> Subject:
    """Find the network *model* and its data, and see that they belong together; arguments as for `export_model`.

    *seen* is given the network before it meets the data, to refuse one that is another than was meant. An ONNX file is
    the original itself, run by onnxruntime, unless it is to be changed *in_torch*, or was by the weights given for it.

    Raises:
        EdgecnnError: one of them is not there, or they do not fit each other.
    """
    source = DataSource.of(data)
    input_shape, normalization = source.input_shape, Normalization.of(source.normalization)
    shapes = source.input_shapes or (() if input_shape is None else (input_shape,))

    def opened(channels: int | None, image: tuple[int, ...] | None, of_network: Resize | None = None) -> Dataset | None:
        """Return the data; images in files come to the channels and the size of *image*, if nothing is said of it."""
        if source.data is None:
            return None
        side = (image[1], image[2]) if image else None
        return open_dataset(source, side=side, channels=channels, resize=of_network)

    if isinstance(model, (str, Path)) and str(model).endswith(".onnx") and weights is None and not in_torch:
        original = Artifact.open(model, input_shape=input_shape)
        image = image_of(original)
        shape = input_shape or tuple(original.inputs[0].shape[1:])
        dataset = opened(image[0] if image else None, image)
        if len(original.inputs) > 1:
            _check_several(original.path.name, normalization)
            dataset = dataset and dataset.ordered([spec.name for spec in original.inputs])
            shape = (sum(map(prod, shapes or shapes_of_inputs(original).values())),)
        return _of_onnx(original, dataset, shape, normalization, task)
    from edgecnn.nets.network import build

    is_folder = isinstance(source.data, str) and source.data.startswith("folder:")
    dataset = opened(None, None)
    known = dataset.shape if dataset and not is_folder else input_shape
    classes = len(dataset.labels) if dataset and dataset.labels else None
    channels = known[0] if known else None
    network = build(model, weights=weights, classes=classes, channels=channels, input_shape=input_shape)
    if seen is not None:
        seen(network)
    inputs = dataset.evaluation.inputs if dataset is not None and not is_folder else {}
    if len(network.input_names) > 1 or inputs or len(shapes) > 1:
        _check_several(network.name, normalization)
        dataset = dataset and dataset.ordered(network.input_names)
        inputs = dataset.evaluation.inputs if dataset else {}
        network = network.with_inputs(list(inputs.values()) or shapes)
        input_shape = None if dataset else (sum(map(prod, shapes)),)
    if is_folder:
        own = network.input_shape if network.input_shape and len(network.input_shape) == 3 else None
        dataset = opened(own[0] if own else network.channels, own, network.resize)
    return _of_network(network, dataset, input_shape, normalization, task)


def _check_several(name: str, normalization: Normalization | None) -> None:
    """See that nothing is asked for that only a network with one input has.

    Raises:
        EdgecnnError: a normalization of pixels is.
    """
    if normalization is not None:
        raise EdgecnnError(
            f"{name} takes several inputs, and a normalization is for one: give arrays of float32 as the network wants "
            "them, or of uint8, which become 0…1"
        )


def _of_network(
    network: Network,
    dataset: Dataset | None,
    input_shape: tuple[int, ...] | None,
    given: Normalization | None,
    task: TaskChoice | str | None,
) -> Subject:
    shape = dataset.shape if dataset else input_shape or network.input_shape
    if shape is None:
        raise EdgecnnError(
            f"{network.name} does not record its input shape: give --data, or --input 1x3x224x224 (in Python "
            "data=DataSource(input_shape=(3, 224, 224)))"
        )
    if dataset and input_shape and input_shape != shape:
        raise EdgecnnError(f"--input says {list(input_shape)}, data set '{dataset.name}' gives {list(shape)}")
    data, warnings = _or_noise(dataset, shape)
    assumed = given is None and network.normalization is None and data.normalization is not None
    if assumed:
        warnings += (
            f"{network.name} does not record its preprocessing: assumed {data.normalization}, "
            f"as data set '{data.name}'; set it with --normalize",
        )
    recorded, remarks = recorded_by(network, shape)
    choice = choose(task, recorded, data)
    subject = Subject(
        name=network.name,
        network=network,
        source=None,
        data=data,
        shape=shape,
        normalization=given or network.normalization or data.normalization,
        labels=network.labels or data.labels,
        warnings=(*network.warnings, *warnings, *remarks, *data.assumptions),
        choice=choice,
        judge=choice.judge(data.facts, size_of_input(shape)),
    )
    if subject.normalization is not None:
        subject.normalization.check_channels(shape)
    # A network and data that do not fit are told here, before any work.
    first = list(run_network(network, data.evaluation.take(1), subject.normalization))
    check_outputs(subject, first[0].outputs)
    _check_labels(subject, network.labels, first[0].outputs)
    subject.judge.check(first[0], network.name)
    return replace(subject, warnings=(*subject.warnings, *_better_normalization(subject))) if assumed else subject


def _better_normalization(subject: Subject) -> tuple[str, ...]:
    """Return the sentence on a normalization with which the network does clearly better than with the assumed one.

    It is not used: the user knows how the network was trained. Training samples tell, never those that judge.
    """
    network, assumed = subject.network, subject.normalization
    if network is None or assumed is None or not subject.has_targets:
        return ()
    try:
        samples = subject.data.calibration(_COMPARED)
    except EdgecnnError:  # the data are for evaluation alone
        return ()

    def judged(normalization: Normalization) -> Score | None:
        answers = run_network(network, samples, normalization)
        return next(iter(subject.judge.judge(answers, subject.name, is_original=True).scores), None)

    own = judged(assumed)
    if own is None:
        return ()
    best, how = own, assumed
    for name in ("pixels", "unit", "imagenet"):
        other = Normalization.parse(name)
        if name == "imagenet" and subject.shape[0] != 3:
            continue
        score = None if other == assumed else judged(other)
        if score is not None and (score.value > best.value) == score.higher_is_better and score.value != best.value:
            best, how = score, other
    ahead = best.low > own.high if own.higher_is_better else best.high < own.low
    if not ahead:
        return ()
    return (
        f"{subject.name}: {own.name} is {best.text} with --normalize {how}, and {own.text} with the assumed {assumed}, "
        f"on {own.n} training samples: give the one of the training",
    )


def recorded_by(network: Network, shape: tuple[int, ...]) -> tuple[TaskChoice, tuple[str, ...]]:
    """Return what *network* says of its task: by an attribute `edgecnn_task` of its class, else by its checkpoint.

    The heads of torchvision's detectors say how they are decoded for inputs of *shape* (C, H, W).

    Raises:
        EdgecnnError: the attribute is no name of a task.
    """
    declared = getattr(network.module, ATTRIBUTE, None)
    if declared is not None:
        if declared not in TASKS.rows:
            raise unknown_name(ATTRIBUTE, str(declared), TASKS.names())
        return TaskChoice(task=declared), ()
    from edgecnn.nets.detectors import Heads

    size = size_of_input(shape)
    if isinstance(network.module, Heads) and size is not None:
        return TaskChoice(task="detection", decode=decoder_to_json(network.module.decoder(size))), ()
    checkpoint = network.checkpoint
    if checkpoint is None:
        return TaskChoice(), ()
    return TaskChoice.recorded(dataclasses.asdict(checkpoint), f"checkpoint {network.name}")


def _of_onnx(
    source: Artifact,
    dataset: Dataset | None,
    shape: tuple[int, ...],
    given: Normalization | None,
    task: TaskChoice | str | None,
) -> Subject:
    data, warnings = _or_noise(dataset, shape)
    plan = plan_for(source, data.evaluation, given, data.normalization)
    own = tuple(source.metadata.get("labels") or ())
    name = source.path.stem.removesuffix(".fp32")
    recorded, remarks = TaskChoice.recorded(source.metadata, source.path.name, task)
    choice = choose(task, recorded, data)
    judge = choice.judge(data.facts, size_of_input(data.shape))
    remark = (*plan.assumptions, *remarks, *warnings, *data.assumptions)
    subject = Subject(
        name=name,
        network=None,
        source=source,
        data=data,
        shape=data.shape,
        normalization=plan.normalization,
        labels=own or data.labels,
        warnings=remark,
        choice=choice,
        judge=judge,
    )
    _check_labels(subject, own, [np.broadcast_to(np.float32(0), spec.shape) for spec in source.outputs])
    return subject


def _check_labels(subject: Subject, labels: Sequence[str] | None, outputs: Outputs) -> None:
    """See that a network's own *labels* are as many as the scores [n, classes] that it gives.

    Raises:
        EdgecnnError: they are not.
    """
    first = outputs[0]
    is_open = subject.choice.task is None and first.ndim == 2  # class names, and no word of another task
    if not labels or first.dtype.kind != "f" or not (subject.is_classifier or is_open):
        return
    classes = class_scores(outputs).shape[1] if subject.is_classifier else first.shape[1]
    if classes != len(labels):
        raise EdgecnnError(
            f"{subject.name} has {len(labels)} labels for {classes} classes; leave the labels out, or give one for "
            "each class"
        )


def _or_noise(dataset: Dataset | None, shape: tuple[int, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data set, or noise in its place and the warning that goes with it."""
    if dataset is not None:
        return dataset, ()
    return noise(shape, NOISE_SAMPLES), (
        "no --data: calibrated on noise, so the accuracy of int8 files is unknown and probably poor; use them for "
        "latency and memory only",
    )


def run_original(subject: Subject, samples: Samples, threads: int) -> Iterator[Answered]:
    """Yield the answers of the original network, batch by batch.

    Raises:
        EdgecnnError: the network does not take the samples, or outputs that are not finite.
    """
    if subject.network is not None:
        return run_network(subject.network, samples, subject.normalization)
    assert subject.source is not None
    plan = plan_for(subject.source, samples, subject.normalization, None)
    return run_artifact(subject.source, samples, plan, threads=threads)


def check_outputs(subject: Subject, outputs: Outputs, *, background: bool = True) -> None:
    """See that a classifier tells as many classes apart as its data have, or with *background* one more before them.

    Args:
        subject: of another task all *outputs* are right here; its metric tells.
        outputs: of some samples, [n, ...] each.
        background: whether the first output may be that of a background class.

    Raises:
        EdgecnnError: it is for other data.
    """
    known = subject.data.labels
    if not subject.is_classifier or known is None or outputs[0].dtype.kind != "f" or not subject.has_targets:
        return
    try:
        classes = class_scores(outputs).shape[1]
    except EdgecnnError as error:
        raise EdgecnnError(f"{subject.name}: {error}") from None
    if classes not in (len(known), len(known) + background):
        raise EdgecnnError(
            f"{subject.name} distinguishes {classes} classes, data set '{subject.data.name}' has {len(known)}; "
            f"{_remedy(subject, classes, len(known))}use the data it was trained on, or --task none to "
            f"go without a score"
        )


def _remedy(subject: Subject, classes: int, known: int) -> str:
    """Return what to do about a network and data that differ by the one class that is usually the reason."""
    if classes == known + 1:
        return "if its first output is a background class, have your factory return scores[:, 1:]; else "
    numbers = subject.data.evaluation.class_numbers if classes == known - 1 else None
    if numbers is not None and numbers.size and numbers.min() == 1:
        return "no sample has class 0: number the classes from 0; else "
    return ""


def named(subject: Subject, name: str | None) -> Subject:
    """Return the subject under another *name* for its files; None: as it is.

    Raises:
        EdgecnnError: a name with a path in it.
    """
    if name is None:
        return subject
    if not name or Path(name).name != name:
        raise EdgecnnError(f"'{name}' is not a file name; choose the folder with --out")
    return replace(subject, name=name)
