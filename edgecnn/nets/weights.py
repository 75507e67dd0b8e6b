"""Read weight files and training checkpoints; nothing in them is run."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgecnn.checkpoint import read_weights
from edgecnn.errors import EdgecnnError
from edgecnn.files import check_downloaded
from edgecnn.short_repr import short_repr

#: How the names of torch's weight files end; `.pth.tar` is one of them.
SUFFIXES = (".pt", ".pth", ".ckpt", ".th", ".bin", ".tar")

#: Where training scripts put the state dict; the first of them is taken where a checkpoint has several that fit.
_USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "state")
_COUNTERS = ("total_ops", "total_params")  # buffers that thop leaves in every layer
_DEEPEST = 3  # levels of dicts within a checkpoint


@dataclass(frozen=True)
class Weights:
    """The tensors of a file by the names that the network has for them."""

    __repr__ = short_repr

    tensors: Mapping[str, torch.Tensor]
    notes: tuple[str, ...] = ()  # what was taken of the file, where it holds more than these


@dataclass(frozen=True)
class _StateDict:
    """A dict of tensors in a checkpoint, and how the network's names are found in it."""

    key: str  # where it lies, `state_dict` or `model.ema`; empty: it is the whole file
    tensors: Mapping[str, torch.Tensor]
    prefix: str  # before the network's own names: `module.`, `model.`, …
    missing: int  # of the network's own names

    @property
    def is_average(self) -> bool:
        """Whether it is an exponential moving average of the weights, by its key."""
        return re.search(r"(^|[_.])ema($|[_.])", self.key, re.IGNORECASE) is not None


def read_weight_file(path: Path, own: Collection[str]) -> Weights:
    """Return the tensors of a `.safetensors` file, or of a file that `torch.save` wrote, for a network.

    Of a whole training checkpoint the state dict is taken that has the network's names. If several have them, an
    exponential moving average comes first, as in timm and Ultralytics, then the usual keys (`state_dict`, `model`, …).
    What stands before all the names goes: `module.` of data-parallel training, `_orig_mod.` of torch.compile, `model.`
    or `net.` of Lightning.

    Args:
        path: the file.
        own: the names in the network's own state dict.

    Raises:
        EdgecnnError: no such file, no tensors in it, or a module pickled as an object, which only its code can read.
    """
    if path.suffix == ".safetensors":
        loaded: Any = read_weights(path)
    elif not path.is_file():
        hint = "; DEFAULT goes with torchvision:NAME alone" if str(path) == "DEFAULT" else ""
        raise EdgecnnError(f"no file at '{path}' (for --weights{hint})")
    elif path.suffix not in SUFFIXES:
        raise EdgecnnError(f"{path}: --weights takes .safetensors, or {', '.join(SUFFIXES)} as torch writes them")
    else:
        loaded = _load(path)
    found = [_matched(key, tensors, own) for key, tensors in _state_dicts(loaded, "", _DEEPEST)]
    if not found:
        raise _no_tensors(path, loaded)
    best = min(found, key=_rank)
    _check_prefix(path, best, own)
    return _taken(path, best, found, own)


class _Unread:
    """Stands for an object that is not read: its class is not looked up, and its content is dropped."""

    is_module = False

    def __new__(cls, *args: object, **kwargs: object) -> _Unread:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.is_module = isinstance(state, Mapping) and "_modules" in state


def _load(path: Path) -> Any:
    """Return what the file holds, with `_Unread` in place of every object that is no tensor and no plain value."""
    check_downloaded(path)
    _check_stored(path)
    try:
        with _tensors_alone(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if zipfile.is_zipfile(path):
            raise _needs_code(path, "") from None
        raise EdgecnnError(
            f"{path}: no weight file, or one in torch's older format that holds more than tensors; where you trust it, "
            "save it anew: torch.save(torch.load(FILE, weights_only=False), OUT)"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, TypeError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise EdgecnnError(f"{path}: not a complete torch weight file ({first})") from None


def _check_stored(path: Path) -> None:
    """See that the file takes no more memory than its size says, and is no program.

    Raises:
        EdgecnnError: parts of it are compressed, or it is TorchScript.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
            is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # older files are no archives; torch reports anything else
    if is_script:
        raise EdgecnnError(
            f"{path}: this is a TorchScript program, not weights; convert it: "
            "torch.save(torch.jit.load(FILE).state_dict(), OUT)"
        )
    if packed:
        raise EdgecnnError(f"{path}: its tensors are compressed, which torch does not do; save it again")


@contextmanager
def _tensors_alone(path: Path) -> Iterator[None]:
    """Within it torch's loader builds tensors and plain values alone, even if somebody has declared classes safe.

    Everything else that *path* names, a training script's arguments for example, becomes an `_Unread`: its class is
    neither imported nor called.
    """
    declared = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals([(_Unread, name) for name in _unknown_classes(path)]):
            yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(declared)


def _unknown_classes(path: Path) -> list[str]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, IndexError, pickle.UnpicklingError):
        return []  # an older file, or a broken one, which the loader reports


def _state_dicts(loaded: object, key: str, depth: int) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield the dicts of tensors in *loaded* with their keys, the outer ones first."""
    if isinstance(loaded, Sequence) and not isinstance(loaded, (str, bytes)):
        loaded = {str(index): value for index, value in enumerate(loaded[:8])}
    if not isinstance(loaded, Mapping):
        return
    tensors = {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if tensors and all(isinstance(name, str) for name in tensors):
        yield key, tensors
    for name, value in loaded.items() if depth else ():
        if isinstance(name, str):
            yield from _state_dicts(value, f"{key}.{name}" if key else name, depth - 1)


def _matched(key: str, tensors: Mapping[str, torch.Tensor], own: Collection[str]) -> _StateDict:
    """Return the dict with the prefix under which most of the network's *own* names stand in it."""
    plain = dict(tensors)
    if not any("_orig_mod." in name for name in own):  # torch.compile's wrapper may sit around any layer
        plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    wanted = _needed(own)
    prefix = max(_prefixes(plain, wanted), key=lambda one: sum(one + name in plain for name in wanted))
    if not any(name in plain for name in wanted) and all(name.startswith("module.") for name in plain):
        prefix = prefix or "module."  # of another network, whose names are to be compared
    return _StateDict(key, plain, prefix, sum(prefix + name not in plain for name in wanted))


def _needed(own: Collection[str]) -> list[str]:
    # Batch norm's counter of training steps is newer than many weight files.
    return [name for name in own if not name.endswith("num_batches_tracked")]


def _prefixes(names: Collection[str], wanted: Sequence[str]) -> list[str]:
    """Return what may stand before the network's names: nothing, or what stands before the first of them."""
    return ["", *(name.removesuffix(wanted[0]) for name in names if wanted and name.endswith(f".{wanted[0]}"))]


def _rank(one: _StateDict) -> tuple[int, bool, int]:
    last = one.key.rpartition(".")[2]
    return one.missing, not one.is_average, _USUAL_KEYS.index(last) if last in _USUAL_KEYS else len(_USUAL_KEYS)


def _check_prefix(path: Path, chosen: _StateDict, own: Collection[str]) -> None:
    """See that the network's names stand in the file only once.

    Raises:
        EdgecnnError: under two prefixes, `student.` and `teacher.` for example.
    """
    if chosen.missing or not chosen.prefix:
        return
    wanted = _needed(own)
    whole = [one for one in _prefixes(chosen.tensors, wanted) if all(one + name in chosen.tensors for name in wanted)]
    if len(whole) > 1:
        raise EdgecnnError(
            f"{path}: holds this network {len(whole)} times, under {', '.join(map(repr, whole))}; "
            "save the one you want in a file of its own"
        )


def _taken(path: Path, chosen: _StateDict, found: Sequence[_StateDict], own: Collection[str]) -> Weights:
    """Return the tensors of *chosen* under the network's names, with a note on what was taken and what was not."""
    names = set(own)
    tensors, left_out = {}, []
    for name, tensor in chosen.tensors.items():
        bare = name.removeprefix(chosen.prefix)
        is_counter = bare.rpartition(".")[2] in _COUNTERS
        # What stands beside the network, a loss with weights for example, is of the training alone.
        is_beside = chosen.prefix and not chosen.missing and not name.startswith(chosen.prefix)
        if bare not in names and (is_counter or is_beside):
            left_out.append(name)
        else:
            tensors[bare] = tensor
    return Weights(tensors, tuple(_notes(path, chosen, found, left_out)))


def _notes(path: Path, chosen: _StateDict, found: Sequence[_StateDict], left_out: Sequence[str]) -> Iterator[str]:
    """Yield what was loaded, where the file leaves a choice, and what was not."""
    others = [one.key for one in found if one is not chosen and not one.missing and one.key]
    if chosen.key or chosen.prefix:
        average = " (a moving average of the weights)" if chosen.is_average else ""
        prefix = f", without the prefix '{chosen.prefix}'" if chosen.prefix else ""
        what = f"a training checkpoint: took its '{chosen.key}'" if chosen.key else "took its tensors"
        yield f"{path.name}: {what}{average}{prefix}"
    if others:
        where = "".join(f"['{part}']" for part in others[0].split("."))
        yield (
            f"{path.name}: '{others[0]}' fits as well; to use it, save it alone: "
            f"torch.save(torch.load(FILE){where}, OUT)"
        )
    if left_out:
        yield f"{path.name}: ignored {_begin(left_out)}, which the network does not have"


def _begin(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _no_tensors(path: Path, loaded: object) -> EdgecnnError:
    if isinstance(loaded, _Unread):
        return _needs_code(path, "")
    if isinstance(loaded, Mapping):
        unread = {key: value for key, value in loaded.items() if isinstance(value, _Unread)}
        if unread:
            key = next((key for key, value in unread.items() if value.is_module), next(iter(unread)))
            return _needs_code(path, f"[{key!r}]")
    return EdgecnnError(f"{path}: holds a {type(loaded).__name__}, not a dict of tensors")


def _needs_code(path: Path, key: str) -> EdgecnnError:
    return EdgecnnError(
        f"{path}: reading this pickle would run code from the file, which edgecnn never does; if you trust it, convert "
        f"it once: torch.save(torch.load(FILE, weights_only=False){key}.state_dict(), OUT)"
    )
