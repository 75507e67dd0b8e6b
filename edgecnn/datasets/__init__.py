"""Data sets by name: `digits`, `cifar10`, `scenes` and their like; `folder:DIR`, `coco:DIR`, `csv:FILE` and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from edgecnn.datasets.source import DataSource as DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization, Resize
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr
from edgecnn.tables import Table
from edgecnn.tasks.task import TargetFacts


@dataclass(frozen=True)
class Dataset:
    """A data set with its splits, each read when first asked for: a board that evaluates never reads the training part.

    The calibration samples are taken from *training*, never from *evaluation*.

    Example:
        >>> import numpy as np
        >>> x, y = np.zeros((100, 1, 8, 8), np.uint8), np.arange(100) % 10
        >>> data = edgecnn.open_dataset((x, y))
        >>> len(data.training), len(data.evaluation)
        (80, 20)
    """

    __repr__ = short_repr

    name: str
    read_training: Callable[[], Samples]
    read_evaluation: Callable[[], Samples]
    normalization: Normalization | None  # None: the samples are what the network wants already
    labels: tuple[str, ...] | None  # class names; None where there are no classes
    assumptions: tuple[str, ...] = ()  # what was assumed because nothing says it
    task: str | None = None  # what networks do with these data, a name in `TASKS`; None: the data do not say

    @cached_property
    def training(self) -> Samples:
        """The samples to learn and calibrate from."""
        return self.read_training()

    @cached_property
    def evaluation(self) -> Samples:
        """The samples to judge by."""
        return self.read_evaluation()

    def ordered(self, names: Sequence[str]) -> Dataset:
        """Return the same data with the inputs of a sample in the order of *names*, as `Samples.ordered`."""
        return replace(
            self,
            read_training=lambda: self.training.ordered(names),
            read_evaluation=lambda: self.evaluation.ordered(names),
        )

    @property
    def facts(self) -> TargetFacts:
        """What is known of the targets, for the task that judges by them."""
        return TargetFacts(labels=self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, (C, H, W)."""
        return self.evaluation.shape

    def calibration(self, count: int) -> Samples:
        """Return *count* training samples, the same ones each time."""
        return self.training.take(count, seed=1)


def in_memory(
    name: str,
    training: Samples,
    evaluation: Samples,
    normalization: Normalization | None,
    labels: tuple[str, ...] | None,
    task: str | None = None,
) -> Dataset:
    """Return a data set whose two parts are at hand."""
    return Dataset(name, lambda: training, lambda: evaluation, normalization, labels, task=task)


def training_part(training: Samples | None, name: str, remedy: str) -> Samples:
    """Return *training*; None says that all samples of *name* are for evaluation.

    Raises:
        EdgecnnError: there are none; *remedy* says how there would be some.
    """
    if training is None:
        raise EdgecnnError(f"{name}: it has evaluation samples only, none for calibration or training; {remedy}")
    return training


@dataclass(frozen=True, kw_only=True)
class DataRequest:
    """Where to look for a data set, and how images in files are brought to one size."""

    argument: str = ""  # what stands behind the colon
    data_dir: Path | None = None
    download: bool = False
    side: tuple[int, int] | None = None  # (H, W) in pixels; None: as the images are
    channels: int | None = None  # 1 for grayscale, 3 for RGB; None: RGB
    resize: Resize | None = None  # None: the shorter side becomes that of *side*


DATASETS = Table(
    "data set",
    {
        "digits": "edgecnn.datasets.digits:open_digits",
        "mnist": "edgecnn.datasets.mnist:open_mnist",
        "fashion-mnist": "edgecnn.datasets.mnist:open_fashion_mnist",
        "cifar10": "edgecnn.datasets.cifar:open_cifar10",
        "cifar100": "edgecnn.datasets.cifar:open_cifar100",
        "creditcard": "edgecnn.datasets.creditcard:open_creditcard",
        "coco": "edgecnn.datasets.coco:open_coco",
        "csv": "edgecnn.datasets.table:open_csv",
        "folder": "edgecnn.datasets.folder:open_folder",
        "masks": "edgecnn.datasets.masks:open_masks",
        "npz": "edgecnn.datasets.npz:open_npz",
        "scenes": "edgecnn.datasets.scenes:open_scenes",
    },
)


#: Data sets whose name goes on behind a colon, and with what.
ARGUMENTS = {
    "folder": "DIR",
    "coco": "DIR",
    "masks": "DIR",
    "csv": "FILE",
    "npz": "FILE",
    "scenes": "TASK",
}
#: Those that hold images in files, which `--resize` is for.
_OF_IMAGES = ("folder", "coco", "masks", "csv")

#: What is taken wherever data are: a name, edgecnn's own `Dataset`, arrays, a `torch.utils.data.DataLoader`, or a
#: `DataSource` of one of these.
Data: TypeAlias = "str | Dataset | DataSource | Mapping[str, Any] | Sequence[Any] | Iterable[Any]"


def open_dataset(
    data: Data,
    *,
    side: tuple[int, int] | None = None,
    channels: int | None = None,
    resize: Resize | str | None = None,
) -> Dataset:
    """Return a data set by its name, or one made of the data that are given.

    Args:
        data: a name, found under `$EDGECNN_DATA`; `folder:DIR`, `coco:DIR`, `masks:DIR`, `csv:FILE` or `npz:FILE`; a
            `Dataset`, which is returned as it is; arrays or a DataLoader, as `dataset_of` takes them; or a
            `DataSource`, which also says where to look and how to resize. The other arguments say what it does not:
        side: height and width in pixels that images in files come to; None: as they are. Other data have their size.
        channels: of images in files: 1 reads them as grayscale, 3 as RGB; None: RGB.
        resize: how images in files come to *side*, as a `Resize` or the text that it parses.

    Returns:
        The data set; its parts are read when they are first asked for.

    Raises:
        EdgecnnError: unknown name, or the data are not there; the message says where it looked and how to get them.

    Example:
        >>> import numpy as np
        >>> open_dataset({"x": np.zeros((10, 1, 8, 8), np.uint8), "y": np.arange(10) % 2}).shape
        (1, 8, 8)
    """
    source = DataSource.of(data)
    name = source.data
    if not isinstance(name, str):
        from edgecnn.datasets.given import dataset_of

        return dataset_of(name)
    kind, colon, argument = name.partition(":")
    if colon and kind not in ARGUMENTS:
        known = ", ".join(f"{known}:{what}" for known, what in ARGUMENTS.items())
        raise EdgecnnError(f"data set '{name}': only these have a part after the colon: {known}")
    opener = _opener(name, kind)
    how = source.resize or resize
    if how is not None and kind in DATASETS.rows and kind not in _OF_IMAGES:
        known = ", ".join(f"{known}:{ARGUMENTS[known]}" for known in _OF_IMAGES)
        raise EdgecnnError(f"data set '{name}' cannot be resized: --resize is for images in files, {known}")
    if ARGUMENTS.get(kind) in ("DIR", "FILE") and not argument:
        raise EdgecnnError(f"data set '{kind}' needs a path: {kind}:{ARGUMENTS[kind]}")
    if source.image is not None:
        channels, side = source.image[0], source.image[1:]
    dataset = opener(
        DataRequest(
            argument=argument,
            data_dir=None if source.folder is None else Path(source.folder),
            download=source.download,
            side=side,
            channels=channels,
            resize=Resize.parse(how) if isinstance(how, str) else how,
        )
    )
    assert isinstance(dataset, Dataset)
    return dataset


def _opener(data: str, kind: str) -> Any:
    """Return what opens data sets of a *kind*.

    Raises:
        EdgecnnError: there is no such kind; where *data* is a folder or file that is there, with the form it needs.
    """
    if kind not in DATASETS.names():
        if Path(data).is_dir():
            from edgecnn.datasets.masks import holds_masks

            form, what = ("masks", "images and masks") if holds_masks(Path(data)) else ("folder", "the images")
            raise EdgecnnError(f"unknown data set '{data}'; did you mean {form}:{data}, {what} in that folder?")
        for ending in ("npz", "csv"):
            if Path(data).is_file() and data.endswith(f".{ending}"):
                raise EdgecnnError(f"unknown data set '{data}'; did you mean {ending}:{data}?")
    return DATASETS.load(kind)
