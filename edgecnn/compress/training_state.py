"""`TrainingState`: a training between two epochs, as one `.safetensors` file. No pickle."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgecnn.checkpoint import load_weights
from edgecnn.errors import EdgecnnError, require
from edgecnn.files import write_whole
from edgecnn.parsing import from_table, parse_json


@dataclass(frozen=True)
class _Document:
    """What the file says beside the tensors."""

    identity: str
    epoch: int
    groups: tuple[Mapping[str, Any], ...]
    numbers: Mapping[str, Any]
    schedule: Mapping[str, Any]


class TrainingState:
    """The file that keeps a training of *module*, as it was at the start, under *config*."""

    def __init__(self, path: Path, module: nn.Module, config: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = _identity(module, config)

    def keep(
        self,
        epoch: int,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        """Write the training after *epoch* whole epochs, beside the last state, then in its place."""
        tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
        moments = optimizer.state_dict()
        numbers: dict[str, Any] = {}
        for index, entries in moments["state"].items():
            for name, value in entries.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value
                else:
                    numbers[f"{index}.{name}"] = value
        document = {
            "identity": self.identity,
            "epoch": epoch,
            "groups": moments["param_groups"],
            "numbers": numbers,
            "schedule": {k: v for k, v in schedule.state_dict().items() if isinstance(v, (int, float, list))},
        }
        # Copies: weights that two layers share are written twice, which safetensors asks for.
        whole = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        save = require("safetensors.torch", "torch").save
        write_whole(self.path, save(whole, metadata={"training": json.dumps(document)}))

    def restore(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
    ) -> int:
        """Bring all three to where the file left them; return how many epochs are done, 0 where there is no file.

        Raises:
            EdgecnnError: the file is broken, or belongs to another training.
        """
        if not self.path.is_file():
            return 0
        safetensors = require("safetensors", "torch")
        try:
            with safetensors.safe_open(str(self.path), framework="pt") as file:
                where = f"{self.path}: training"
                document = from_table(_Document, parse_json((file.metadata() or {}).get("training", ""), where), where)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, no dict)
        except (safetensors.SafetensorError, OSError, EdgecnnError) as error:
            raise EdgecnnError(
                f"{self.path}: not a training that can be resumed ({error}); delete it to start over"
            ) from None
        if document.identity != self.identity:
            raise EdgecnnError(f"{self.path} belongs to another training; delete it to start over")
        load_weights(module, _of_module(tensors), str(self.path))
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, entry = name.split(".", 2)
                state.setdefault(int(index), {})[entry] = tensor
        for name, value in document.numbers.items():
            index, entry = name.split(".", 1)
            state.setdefault(int(index), {})[entry] = value
        optimizer.load_state_dict({"state": _laid_out(state, optimizer), "param_groups": list(document.groups)})
        schedule.load_state_dict(dict(document.schedule))
        return document.epoch


def module_of(path: Path, module: nn.Module) -> nn.Module:
    """Return a copy of *module* with the weights that it had when its training was last kept in *path*."""
    tensors = require("safetensors.torch", "torch").load_file(str(path))
    trained = copy.deepcopy(module)
    load_weights(trained, _of_module(tensors), str(path))
    return trained.eval()


def _of_module(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = "module."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _laid_out(state: dict[int, dict[str, Any]], optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """Return *state* with each tensor laid out in memory as its parameter, which fused optimizers take for given."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        index: {
            name: torch.empty_like(parameters[index], dtype=value.dtype).copy_(value)
            if isinstance(value, torch.Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in entries.items()
        }
        for index, entries in state.items()
    }


def _identity(module: nn.Module, config: Mapping[str, Any]) -> str:
    """Return a sha256 over the weights that the training starts from, and its config."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
