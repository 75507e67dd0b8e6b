"""Find a network and its data, and see that they belong together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data, Dataset, open_dataset
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.accuracy import outputs_of, plan_for
from edgecnn.evaluate.inputs import class_scores, image_of
from edgecnn.evaluate.parity import Outputs
from edgecnn.normalization import Normalization, Resize, preprocess
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr

if TYPE_CHECKING:
    from edgecnn.nets.network import Model, Network

NOISE_SAMPLES = 32


@dataclass(frozen=True)
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


def load_subject(
    model: Model,
    *,
    data: Data | None = None,
    input_shape: tuple[int, ...] | None = None,
    weights: str | Path | None = None,
    normalization: Normalization | str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    resize: Resize | str | None = None,
    seen: Callable[[Network], None] | None = None,
) -> Subject:
    """Find the network *model* and its data, and see that they belong together; arguments as for `export_model`.

    *seen* is given the network before it meets the data, to refuse one that is another than was meant.

    Raises:
        EdgecnnError: one of them is not there, or they do not fit each other.
    """
    input_shape = None if input_shape is None else _checked(input_shape)
    normalization = Normalization.of(normalization)
    given = input_shape if input_shape and len(input_shape) == 3 else None

    def opened(channels: int | None, image: tuple[int, ...] | None, of_network: Resize | None = None) -> Dataset | None:
        """Return the data; images in files come to the channels and the size of *image*."""
        if data is None:
            return None
        side = (image[1], image[2]) if image else None
        how = resize or of_network
        return open_dataset(data, data_dir, download=download, side=side, channels=channels, resize=how)

    if isinstance(model, (str, Path)) and str(model).endswith(".onnx"):
        source = Artifact.open(model)
        image = given or image_of(source)
        shape = input_shape or tuple(source.inputs[0].shape[1:])
        return _of_onnx(source, opened(image[0] if image else None, image), shape, normalization)
    from edgecnn.nets.network import build

    is_folder = isinstance(data, str) and data.startswith("folder:")
    dataset = opened(given[0] if given else None, given)
    known = dataset.shape if dataset and not is_folder else input_shape
    classes = len(dataset.labels) if dataset and dataset.labels else None
    channels = known[0] if known else None
    network = build(model, weights=weights, classes=classes, channels=channels, input_shape=input_shape)
    if seen is not None:
        seen(network)
    if is_folder:
        own = given or (network.input_shape if network.input_shape and len(network.input_shape) == 3 else None)
        dataset = opened(own[0] if own else network.channels, own, network.resize)
    return _of_network(network, dataset, input_shape, normalization)


def _checked(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return *input_shape* as a tuple of whole numbers.

    Raises:
        EdgecnnError: it is something else.
    """
    try:
        shape = tuple(map(operator.index, input_shape))
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise EdgecnnError(f"input_shape is (channels, height, width), without the batch, not {input_shape!r}")
    return shape


def _of_network(
    network: Network, dataset: Dataset | None, input_shape: tuple[int, ...] | None, given: Normalization | None
) -> Subject:
    shape = dataset.shape if dataset else input_shape or network.input_shape
    if shape is None:
        raise EdgecnnError(
            f"{network.name} does not record its input shape: give --data, or --input 1x3x224x224 (in Python "
            "input_shape=(3, 224, 224))"
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
    subject = Subject(
        network.name,
        network,
        None,
        data,
        shape,
        given or network.normalization or data.normalization,
        network.labels or data.labels,
        (*network.warnings, *warnings, *data.assumptions),
    )
    if subject.normalization is not None:
        subject.normalization.check_channels(shape)
    # A network and data that do not fit are told here, before any work.
    for _, outputs in original_outputs(subject, data.evaluation.take(1), threads=1):
        _check_labels(network.name, network.labels, outputs)
    return subject


def _of_onnx(source: Artifact, dataset: Dataset | None, shape: tuple[int, ...], given: Normalization | None) -> Subject:
    data, warnings = _or_noise(dataset, shape)
    plan = plan_for(source, data.evaluation, given, data.normalization)
    own = tuple(source.metadata.get("labels") or ())
    name = source.path.stem.removesuffix(".fp32")
    remark = (
        *plan.assumptions,
        *warnings,
        *data.assumptions,
        "the source is an ONNX file: TFLite needs the torch network and is left out",
    )
    _check_labels(name, own, [np.broadcast_to(np.float32(0), spec.shape) for spec in source.outputs])
    return Subject(name, None, source, data, data.shape, plan.normalization, own or data.labels, remark)


def _check_labels(name: str, labels: Sequence[str] | None, outputs: Outputs) -> None:
    """See that a network's own *labels* are as many as the classes that it tells apart, by its *outputs*.

    Raises:
        EdgecnnError: they are not.
    """
    scores = class_scores(outputs)
    if labels and scores is not None and scores.shape[1] != len(labels):
        raise EdgecnnError(
            f"{name} has {len(labels)} labels for {scores.shape[1]} classes; leave the labels out, or give one for "
            f"each class"
        )


def _or_noise(dataset: Dataset | None, shape: tuple[int, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data set, or noise in its place and the warning that goes with it."""
    if dataset is not None:
        return dataset, ()
    return noise(shape, NOISE_SAMPLES), (
        "no --data: calibrated on noise, so the accuracy of int8 files is unknown and probably poor; use them for "
        "latency and memory only",
    )


def original_outputs(
    subject: Subject, samples: Samples, threads: int
) -> Iterator[tuple[npt.NDArray[np.int64], Outputs]]:
    """Yield the labels [n] (-1 where there are none) and the outputs of the original network, batch by batch.

    Raises:
        EdgecnnError: the network does not take the samples.
    """
    if subject.network is None:
        assert subject.source is not None
        plan = plan_for(subject.source, samples, subject.normalization, None)
        yield from outputs_of(subject.source, samples, plan, threads=threads)
        return
    for batch in samples:
        labels = np.full(len(batch.x), -1) if batch.y is None else batch.y
        yield labels, subject.network.outputs(np.ascontiguousarray(preprocess(batch.x, subject.normalization)))


def check_classes(subject: Subject, classes: int, otherwise: str = "") -> None:
    """See that a network of so many *classes* is for its data; *otherwise* says what else may be used.

    Raises:
        EdgecnnError: it is for other data.
    """
    known = subject.data.labels
    if known is not None and classes == 1:
        raise EdgecnnError(
            f"{subject.name} gives one value a sample, no score for each of the {len(known)} classes of data set "
            f"'{subject.data.name}'; edgecnn judges classifiers with one output for each class{otherwise}"
        )
    if known is not None and len(known) != classes:
        raise EdgecnnError(
            f"{subject.name} distinguishes {classes} classes, data set '{subject.data.name}' has {len(known)}; "
            f"{_remedy(subject, classes, len(known))}use the data it was trained on{otherwise}"
        )


def _remedy(subject: Subject, classes: int, known: int) -> str:
    """Return what to do about a network and data that differ by the one class that is usually the reason."""
    if classes == known + 1:
        return "if its first output is a background class, have your factory return scores[:, 1:]; else "
    numbers = subject.data.evaluation.labels if classes == known - 1 else None
    if numbers is not None and min(np.asarray(numbers), default=0) == 1:
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
