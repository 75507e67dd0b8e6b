"""`Study`: the networks of a study, its data, and where its published figures lie; one TOML file each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.parsing import read_toml
from edgecnn.shipped import find_shipped, shipped_files
from edgecnn.short_repr import short_repr

#: Protocol → what it is; `edgecnn.compress.protocols` has the settings.
PROTOCOLS = {
    "a": "SGD, the learning rate falls when the training loss stops falling, early stop",
    "b": "SGD, one cycle of the learning rate over 150 epochs",
    "c": "AdamW, one cycle over few epochs, label smoothing, averaged weights, a teacher if given",
}


@dataclass(frozen=True)
class Variant:
    """One network of a study."""

    number: int
    model: str  # edgecnn:NAME or torchvision:NAME
    blocks: str = ""  # what it is made of
    compared_with: int | None = None  # the variant that it changes; None: the first

    def __post_init__(self) -> None:
        # A file must not choose which code runs: `package.module:factory` is for the command line.
        if not self.model.startswith(("edgecnn:", "torchvision:")):
            raise EdgecnnError(f"a study's model is edgecnn:NAME or torchvision:NAME, not '{self.model}'")

    @property
    def name(self) -> str:
        """The name of its files: `resnet101-v11`."""
        return self.model.partition(":")[2]


@dataclass(frozen=True)
class Pruning:
    """Iterations of magnitude pruning: each sets a share of the weights that are left to zero, then trains."""

    variants: tuple[int, ...]
    iterations: int
    epochs: int  # of training after each iteration, at most
    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.iterations < 1 or self.epochs < 0:
            raise EdgecnnError("pruning takes a share between 0 and 1, and at least 1 iteration")


@dataclass(frozen=True)
class Study:
    """A family of networks on one data set. The fields are the keys of its TOML file; `name` is the file's name.

    Example:
        >>> study = edgecnn.load_study("resnet101-cifar10")
        >>> [variant.name for variant in study.chosen([8, 11])]
        ['resnet101-v8', 'resnet101-v11']
    """

    __repr__ = short_repr

    name: str
    title: str
    data: str  # a data set, as `open_dataset` takes it
    classes: int
    input_shape: tuple[int, ...]  # (C, H, W)
    variants: tuple[Variant, ...]
    source: str = ""  # of the published figures
    published: str | None = None  # CSV of published figures, one row a variant
    published_protocol: str | None = None  # that the published accuracies are of
    published_pruning: str | None = None  # CSV of published pruning, one row an iteration of a variant
    pruning: tuple[Pruning, ...] = ()

    def __post_init__(self) -> None:
        numbers = [variant.number for variant in self.variants]
        if not numbers or len(set(numbers)) < len(numbers):
            raise EdgecnnError("a study has at least one variant, and each has its own number")
        known = set(map(str, numbers))
        others = [variant.compared_with for variant in self.variants if variant.compared_with is not None]
        for number in (*others, *(number for one in self.pruning for number in one.variants)):
            if str(number) not in known:
                raise unknown_name("variant", str(number), known)
        if self.published_protocol is not None and self.published_protocol not in PROTOCOLS:
            raise unknown_name("protocol", self.published_protocol, PROTOCOLS)

    def chosen(self, numbers: Iterable[int] = ()) -> tuple[Variant, ...]:
        """Return the variants with these *numbers*, in the study's order; all of them where there is no number.

        Raises:
            EdgecnnError: the study has no variant of a number.
        """
        wanted, known = set(numbers), {variant.number for variant in self.variants}
        for number in sorted(wanted - known):
            raise unknown_name(f"variant of study {self.name}:", str(number), map(str, sorted(known)))
        return tuple(variant for variant in self.variants if not wanted or variant.number in wanted)

    def pruning_of(self, variant: Variant) -> Pruning:
        """Return how *variant* is pruned.

        Raises:
            EdgecnnError: the study does not prune it.
        """
        for one in self.pruning:
            if variant.number in one.variants:
                return one
        pruned = sorted(number for one in self.pruning for number in one.variants)
        which = f"it prunes {', '.join(map(str, pruned))}" if pruned else "it prunes none; add [[pruning]] to its file"
        raise EdgecnnError(f"study {self.name} does not prune variant {variant.number}: {which}")


def load_study(name: str) -> Study:
    """Return a study; paths in its file are relative to the file.

    Args:
        name: `resnet101-cifar10`, a study of the user's own, or a TOML file.

    Raises:
        EdgecnnError: unknown study, or a broken file.

    Example:
        >>> edgecnn.load_study("vgg19-cifar100").classes
        100
    """
    path = find_shipped("studies", name, "study")
    study = read_toml(path, Study, name=path.stem)
    return replace(
        study,
        published=_beside(path, study.published),
        published_pruning=_beside(path, study.published_pruning),
    )


def _beside(path: Path, file: str | None) -> str | None:
    return None if file is None else str(path.parent / file)


def study_names() -> list[str]:
    """Return the names of all known studies, sorted."""
    return sorted(shipped_files("studies"))
