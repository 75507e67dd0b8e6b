"""Read weight files; what would have to run code to be read is refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from edgecnn.checkpoint import read_weights
from edgecnn.errors import EdgecnnError


def read_weight_file(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a `.safetensors`, `.pt` or `.pth` file by name.

    A dict that wraps the weights (`state_dict`, `model`, ...) is opened; the prefix `module.` that data-parallel
    training leaves is taken off.

    Raises:
        EdgecnnError: no such file, not weights, or a pickle that `weights_only=True` does not read.
    """
    if path.suffix == ".safetensors":
        return read_weights(path)
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}' (for --weights)")
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise EdgecnnError(f"{path}: --weights takes a .safetensors, .pt or .pth file")
    _check_stored(path)
    try:
        with _tensors_alone():
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise EdgecnnError(
            f"{path}: reading this pickle would run code from the file, which edgecnn never does; where you trust it, "
            "convert it once: safetensors.torch.save_file(torch.load(FILE, weights_only=False).state_dict(), OUT)"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise EdgecnnError(f"{path}: not a whole torch weight file ({first})") from None
    state = _state_dict(loaded)
    if state is None:
        raise EdgecnnError(f"{path}: holds a {type(loaded).__name__}, no dict of tensors")
    prefixed = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if prefixed else name: tensor for name, tensor in state.items()}


def _check_stored(path: Path) -> None:
    """See that the file takes no more memory than its size says.

    Raises:
        EdgecnnError: parts of it are compressed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # older files are no archives; what else it is, torch tells
    if packed:
        raise EdgecnnError(f"{path}: its tensors are compressed, which torch does not do; save it again")


@contextmanager
def _tensors_alone() -> Iterator[None]:
    """Within it torch's loader builds tensors alone, even where somebody has declared other classes safe."""
    declared = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(declared)


def _state_dict(loaded: object) -> dict[str, torch.Tensor] | None:
    if not isinstance(loaded, Mapping):
        return None
    if loaded and all(isinstance(value, torch.Tensor) for value in loaded.values()):
        return dict(loaded)
    for key in ("state_dict", "model_state_dict", "model", "net", "weights"):
        if key in loaded:
            return _state_dict(loaded[key])
    return None
