"""Read exported programs (`.pt2`) without letting a pickle in them run."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from edgecnn.errors import EdgecnnError

#: Constants of these names in the archive are unpickled by torch with nothing to stop what they run.
_RUNS_CODE = ("custom_obj_", "opaque_obj_", "script_obj_")


def read_program(path: Path) -> tuple[nn.Module, tuple[int, ...] | None]:
    """Return the module of an exported program, and the shape of its one input without the batch.

    Raises:
        EdgecnnError: not a whole archive, an object in it that would run code, or more than one input.
    """
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}'")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [part for name in archive.namelist() for part in name.split("/")]
    except (zipfile.BadZipFile, OSError) as error:
        raise EdgecnnError(f"{path}: not a whole exported program ({error}); write it with torch.export.save") from None
    objects = [part for part in parts if part.startswith(_RUNS_CODE)]
    if objects:
        raise EdgecnnError(
            f"{path}: holds {objects[0]}, which would run code to be read; export it without such objects"
        )
    try:
        with _weights_only():
            program = torch.export.load(path)
    except Exception as error:
        # torch raises almost anything for a broken archive.
        first = str(error).strip().splitlines()[:1]
        raise EdgecnnError(f"{path}: not a readable exported program ({''.join(first)})") from error
    inputs = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    if len(inputs) != 1:
        raise EdgecnnError(f"{path}: takes {len(inputs)} inputs; edgecnn takes networks with one")
    node = next(node for node in program.graph.nodes if node.name == inputs[0])
    shape = node.meta["val"].shape
    if shape[0] == 1 or not isinstance(shape[0], int):
        return _Program(program.module()), tuple(int(size) for size in shape[1:])
    raise EdgecnnError(f"{path}: exported for a batch of {shape[0]}; export it for a batch of 1 or a dynamic batch")


class _Program(nn.Module):
    """A module that runs an exported program on any number of samples."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, x: torch.Tensor) -> Any:
        """Map [N, ...] to what the program gives, one sample at a time: its batch may be fixed at 1."""
        if x.shape[0] == 1:
            return self.program(x)
        singles = [self.program(x[index : index + 1]) for index in range(x.shape[0])]
        return tree_map(lambda *outputs: torch.cat(outputs), *singles)

    def train(self, mode: bool = True) -> _Program:
        """Stay as exported: a program refuses to change its mode."""
        self.training = False
        return self


@contextmanager
def _weights_only() -> Iterator[None]:
    """Have torch's own loader refuse pickles that hold more than tensors; it has an environment variable for it.

    What it would log of a broken archive, traces and all, is kept quiet: the error says it.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
