"""`Plan`: a compression written down, as a TOML file that does it again without searching."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.compress import block_of
from edgecnn.compress.settings import CRITERION, Training
from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole
from edgecnn.parsing import from_table, read_table
from edgecnn.short_repr import short_repr

if TYPE_CHECKING:
    from edgecnn.compress.train import TrainConfig
    from edgecnn.nets.network import Network

SCHEMA_VERSION = 1

#: The parts of a data set.
TRAINING, EVALUATION = "training", "evaluation"

#: A key before all tables: how many cuts each round has. A file that lost its end is TOML still, and would do less.
_COUNTS = "cuts_of_rounds"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How filters are judged and networks trained, the same in every round."""

    criterion: str = CRITERION
    round_to: int = 1  # channel counts become multiples of it
    #: Share of the part below that is set aside to choose by: neither trained on nor in final figures.
    validation_split: float = field(default=0.1, metadata={"formerly": "held_out"})
    #: `TRAINING`, or `EVALUATION` if the network was trained on all of the training data.
    validation_from: str = field(default=TRAINING, metadata={"formerly": "held_out_of"})
    learning_rate: float = Training.learning_rate  # the peak of each training's one cycle
    optimizer: str = Training.optimizer
    batch_size: int = Training.batch_size
    teacher_weight: float = 0.7  # share of the loss that follows the teacher; 0: there is none
    shift: int = 0  # pixels that training images are moved by, at most
    flip: bool = False  # whether half of them are mirrored
    #: The batches of so many epochs return, with the teacher's scores as they were; 0: each epoch has its own.
    cache_soft_targets: int = field(default=Training.cache_soft_targets, metadata={"formerly": "views"})
    seed: int = 0

    def __post_init__(self) -> None:
        if self.round_to < 1:
            raise EdgecnnError(f"round_to is at least 1, not {self.round_to}")
        if self.batch_size < 2:
            raise EdgecnnError(f"a batch has at least 2 samples, not {self.batch_size}")
        if not 0 <= self.validation_split < 1:
            raise EdgecnnError(f"validation_split is at least 0 and less than 1, not {self.validation_split:g}")
        if self.validation_from not in (TRAINING, EVALUATION):
            raise EdgecnnError(f"validation_from is {TRAINING} or {EVALUATION}, not '{self.validation_from}'")
        for name in ("shift", "seed"):
            if getattr(self, name) < 0:
                raise EdgecnnError(f"{name} is at least 0, not {getattr(self, name)}")
        self.training(0)  # tells what is wrong with the rest

    def training(self, epochs: float, number: int = 0, *, keep_zeros: bool = False) -> TrainConfig:
        """Return how to train in round *number*; 0: at the end."""
        from edgecnn.compress.augment import Augmentation
        from edgecnn.compress.train import TrainConfig

        return TrainConfig(
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            augmentation=Augmentation(self.shift, self.flip),
            teacher_weight=self.teacher_weight,
            cache_soft_targets=self.cache_soft_targets,
            seed=self.seed + number,
            keep_zeros=keep_zeros,
        )


@dataclass(frozen=True)
class Round:
    """Cuts made at once, the zeros among the weights that are left, and the tuning after them."""

    #: unit → share of its filters that goes; 1: the layer or block goes whole, and `LAYER:BLOCK` = 1: a smaller block
    #: takes the place of the convolution.
    cuts: Mapping[str, float]
    epochs: float = 0
    sparsity: float = 0.0  # share of the weights of convolutions and linear layers that are 0 from here on

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise EdgecnnError(f"a sparsity is at least 0 and less than 1, not {self.sparsity:g}")
        object.__setattr__(self, "epochs", checked_epochs(self.epochs))
        for unit, ratio in self.cuts.items():
            if not 0 <= ratio <= 1:
                raise EdgecnnError(
                    f"{unit}: a ratio is at least 0 and less than 1, or 1 for a layer or block whole, not {ratio:g}"
                )
            if block_of(unit) and ratio != 1:
                raise EdgecnnError(f"{unit}: a block takes the place of a layer whole; its ratio is 1, not {ratio:g}")


@dataclass(frozen=True)
class Plan:
    """What was done to a network, round by round; the fields are the keys of its TOML file.

    Example:
        >>> edgecnn.Plan("digits-cnn", layers={}, data="digits", epochs=3).write("three.plan.toml")
        >>> edgecnn.Plan.read("three.plan.toml").epochs
        3
    """

    __repr__ = short_repr

    network: str
    layers: Mapping[str, tuple[int, ...]]  # what it is for: the sizes of each of the network's weights
    method: TrainingSettings = TrainingSettings()
    rounds: tuple[Round, ...] = ()
    epochs: float = 0  # of the training at the end
    data: str = ""  # the data set it was made with, and is done again with where no other is named
    teachers: tuple[str, ...] = ()  # name and sha256 of each network that taught in the original's place
    schema_version: int = field(default=SCHEMA_VERSION)

    path: Path | None = field(default=None, init=False, compare=False, repr=False)  # the file that it was read from

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", checked_epochs(self.epochs))

    @classmethod
    def read(cls, path: Path | str, *, criterion: str = CRITERION) -> Plan:
        """Return the plan in a TOML file.

        Args:
            path: the file.
            criterion: code of your own that the plan ranks filters by, `package.module:function` or `FILE.py:function`:
                it runs only if you name it, as a file alone does not choose what code runs.

        Raises:
            EdgecnnError: no such file, one that lost its end, a key or a value that is wrong, or a newer edgecnn wrote
                it; or its criterion and yours differ, and one of them is not edgecnn's code.
        """
        path = Path(path)
        if not path.is_file():
            raise EdgecnnError(f"no plan at '{path}'; every run of edgecnn compress writes one beside its result")
        table, text = read_table(path)
        counts = table.pop(_COUNTS, None)  # plans written by hand, and the first ones, have none
        plan = from_table(cls, table, str(path))
        if plan.schema_version != SCHEMA_VERSION:
            raise EdgecnnError(
                f"{path}: written with schema {plan.schema_version}, this edgecnn reads {SCHEMA_VERSION}; update it"
            )
        if counts is not None:
            _check_whole(plan, counts, text, path)
        for number, one in enumerate(plan.rounds, start=1):
            if not one.cuts and not one.sparsity:
                raise EdgecnnError(
                    f"{path}: round {number} cuts nothing and sets no weight to 0: use the complete file, or delete "
                    "the round"
                )
        asked = plan.method.criterion
        if asked != criterion and ":" in asked:
            raise EdgecnnError(
                f"{path} names the criterion {asked}, which is not edgecnn's code; if you trust it, add --criterion "
                f"{asked}"
            )
        if asked != criterion and ":" in criterion:
            raise EdgecnnError(f"--criterion {criterion} does not go with {path}, which has {asked}")
        object.__setattr__(plan, "path", path)
        return plan

    @property
    def where(self) -> str:
        """What messages call it: its file, where it was read from one."""
        return "the plan" if self.path is None else str(self.path)

    def is_sparse(self, number: int) -> bool:
        """Return whether weights are 0, and stay it, from a round up to *number* on."""
        return any(one.sparsity for one in self.rounds[:number])

    @property
    def substitutes(self) -> tuple[str, ...]:
        """The blocks that take the place of convolutions."""
        blocks = (block_of(name) for one in self.rounds for name in one.cuts)
        return tuple(dict.fromkeys(block for block in blocks if block))

    def check_network(self, network: Network) -> None:
        """See that the plan was written for *network*.

        Raises:
            EdgecnnError: it was written for another one; the message names the first difference.
        """
        given = layers_of(network)
        for name in dict.fromkeys((*self.layers, *given)):
            theirs, ours = self.layers.get(name), given.get(name)
            if theirs != ours:
                stored, found = ("no such weights" if s is None else str(list(s)) for s in (theirs, ours))
                raise EdgecnnError(
                    f"{self.where} was written for another network ({self.network}): its {name} has {stored}, "
                    f"this one's {found}; use it with the network it was made from"
                )

    def check_teachers(self, given: tuple[str, ...]) -> None:
        """See that the teachers *given* are those of the plan, whatever they are called here.

        Raises:
            EdgecnnError: they are others.
        """
        if [one.rpartition(" ")[2] for one in self.teachers] != [one.rpartition(" ")[2] for one in given]:
            if not self.teachers:
                raise EdgecnnError(f"{self.where} was made without --teacher; leave --teacher out")
            stored, found = (", ".join(names) or "none" for names in (self.teachers, given))
            raise EdgecnnError(
                f"{self.where} was made with the teacher {stored}, not {found}; give the same one with --teacher"
            )

    def write(self, path: Path | str) -> None:
        """Write the plan to a TOML file, whole."""
        table = {_COUNTS: [len(one.cuts) for one in self.rounds]} | asdict(self)
        del table["path"]
        write_whole(Path(path), "\n".join(_toml(table)) + "\n")


def checked_epochs(epochs: float) -> float:
    """Return *epochs*, whole ones as an integer.

    Raises:
        EdgecnnError: less than none, or no number.
    """
    if not 0 <= epochs < math.inf:
        raise EdgecnnError(f"epochs are 0 or more, not {epochs:g}")
    return int(epochs) if float(epochs).is_integer() else epochs


def _check_whole(plan: Plan, counts: Any, text: str, path: Path) -> None:
    """See that the *text* of a plan has all that was written, as the *counts* at its beginning say.

    Raises:
        EdgecnnError: it has not.
    """
    found = [len(one.cuts) for one in plan.rounds]
    # A number that lost its last digits is a number, but the line's end went with them.
    if found != counts or not text.endswith("\n"):
        what = "its last line is incomplete" if found == counts else f"its rounds have {found} cuts, not {counts}"
        raise EdgecnnError(
            f"{path} is not whole: {what}; give the file as it was written, or where you changed it, take out {_COUNTS}"
        )


def layers_of(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the sizes of each of a network's weights by name, in their order."""
    return {name: tuple(tensor.shape) for name, tensor in network.module.named_parameters()}


def _toml(table: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """Yield the lines of a table: its own values, then the tables in it."""
    inner = {key: value for key, value in table.items() if isinstance(value, dict) or _is_tables(value)}
    for key in (key for key in table if key not in inner):
        yield f"{key if key.isascii() and key.isidentifier() else _value(key)} = {_value(table[key])}"
    for key, value in inner.items():
        path = f"{name}.{key}" if name else key
        for one in value if _is_tables(value) else (value,):
            yield ""
            yield f"[[{path}]]" if _is_tables(value) else f"[{path}]"
            yield from _toml(one, path)


def _is_tables(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and bool(value) and isinstance(value[0], dict)


def _value(value: Any) -> str:
    # JSON's texts, numbers, booleans and lists are TOML's as well, but for characters escaped by twos, and DEL.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
