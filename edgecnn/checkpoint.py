"""`Checkpoint`: one `.safetensors` file with the weights and how to rebuild the module that bears them."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import EdgecnnError, require
from edgecnn.files import check_downloaded, write_whole
from edgecnn.normalization import Normalization
from edgecnn.parsing import convert, from_table, parse_json
from edgecnn.short_repr import short_repr
from edgecnn.tables import Table
from edgecnn.user_code import explain_user_errors, load_attribute, load_own

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA_VERSION = 1
_KEY = "edgecnn"

#: Name → a block that can take a plain convolution's place, an `edgecnn.nets.substitutes.Substitute`.
SUBSTITUTES = Table(
    "block",
    {
        "depthwise": "edgecnn.nets.substitutes:DEPTHWISE",
        "fire": "edgecnn.nets.substitutes:FIRE",
        "ghost": "edgecnn.nets.substitutes:GHOST",
        "grouped": "edgecnn.nets.substitutes:GROUPED",
        "nx1-1xn": "edgecnn.nets.substitutes:NX1_1XN",
    },
)


@dataclass(frozen=True)
class Checkpoint:
    """How to rebuild a module; the weights lie beside it in the same file. No pickle, ever.

    Rebuilding is driven by shapes: the factory builds the original network, blocks take the place of substituted
    layers, removed layers become identities, and every layer takes the size of its stored weights.

    Example:
        >>> edgecnn.Checkpoint("edgecnn:digits-cnn", {}).factory
        'edgecnn:digits-cnn'
    """

    __repr__ = short_repr

    factory: str  # "package.module:attribute" or "FILE.py:attribute"
    arguments: Mapping[str, Any] = field(default_factory=dict)  # numbers, true, false and null, in a file
    removed: tuple[str, ...] = ()  # names of layers that compression took out
    input_shape: tuple[int, ...] | None = None  # (C, H, W)
    normalization: Normalization | None = None
    labels: tuple[str, ...] | None = None
    accuracy: Mapping[str, Any] | None = None  # {top1, n, low, high}, as `accuracy_to_json` gives it
    data: str | None = None  # the data set that the score was taken on
    history: tuple[Mapping[str, Any], ...] = ()  # the steps that made it, oldest first
    task: str | None = None  # what the network does; None: not said
    metric: str | None = None  # what it is judged by, where that is not the task's first metric
    decode: Mapping[str, Any] | None = None  # what turns its raw outputs into what the metric takes
    score: Mapping[str, Any] | None = None  # of another task than classification, as `Score.to_json` gives it
    substituted: Mapping[str, str] = field(default_factory=dict)  # convolution → the block in its place, oldest first

    def save(self, path: Path | str, module: nn.Module) -> None:
        """Write the weights of *module* and this description to *path*, whole or not at all."""
        serialize = require("safetensors.torch", "torch").save
        document = dataclasses.asdict(self) | {"schema_version": SCHEMA_VERSION}
        # Weights that two layers share are written twice: safetensors refuses memory that is shared.
        state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
        write_whole(Path(path), serialize(state, metadata={_KEY: json.dumps(document)}))

    @classmethod
    def read(cls, path: Path | str) -> Checkpoint | None:
        """Return the description in a `.safetensors` file; None where it holds weights alone.

        Raises:
            EdgecnnError: the file is broken, or a newer edgecnn wrote it.
        """
        path = Path(path)
        with _opened(path) as file:
            text = (file.metadata() or {}).get(_KEY)
        if text is None:
            return None
        where = f"{path}: description of the network"
        document = dict(convert(Mapping[str, Any], parse_json(text, where), where))
        version = document.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise EdgecnnError(f"{path}: written with schema {version}, this edgecnn reads {SCHEMA_VERSION}; update it")
        read = from_table(cls, document, where)
        for name, value in read.arguments.items():
            _check_argument(path, name, value)
        return read

    def rebuild(self, path: Path | str, module: nn.Module | None = None) -> nn.Module:
        """Return the module with the weights of *path*, in evaluation mode.

        *module* is the original network as it was made, which is changed in place. If there is none, this calls the
        factory, whatever it is: a file must not choose which code runs, so `edgecnn.build` lets only networks of ours
        and of torchvision through on a file's word.

        Raises:
            EdgecnnError: the factory is not there, or the weights do not fit what it builds.
        """
        path = Path(path)
        module = call_factory(self.factory, self.arguments) if module is None else module
        nn = require("torch.nn", "torch")
        for name, block in self.substituted.items():
            if not name or not isinstance(dict(module.named_modules()).get(name), nn.Conv2d):
                raise EdgecnnError(f"{path}: {self.factory} has no convolution '{name}' to replace by {block}")
            substitute_(module, name, block)
        for name in self.removed:
            if not name or name not in dict(module.named_modules()):
                raise EdgecnnError(f"{path}: {self.factory} has no layer '{name}' to remove")
            parent, _, child = name.rpartition(".")
            setattr(module.get_submodule(parent), child, nn.Identity())
        weights = read_weights(path)
        materialize_lazy(module, weights)
        resize_to(module, weights)
        load_weights(module, weights, str(path))
        return module.eval()


def _check_argument(path: Path, name: str, value: object) -> None:
    """See that an argument that a file has for a factory is a size or a switch: no text, which may name anything.

    Raises:
        EdgecnnError: it is something else, or would have torchvision download weights.
    """
    if name.startswith(_WEIGHTS) and value is not None and value is not False:
        raise EdgecnnError(
            f"{path}: its argument {name} = {value!r} would download weights, but a checkpoint has its own; save it "
            f"without that argument"
        )
    if value is not None and not isinstance(value, (bool, int, float)):
        raise EdgecnnError(
            f"{path}: its argument {name} is a {type(value).__name__}; a file may only give a factory numbers, true, "
            f"false and null: set the rest in your own factory"
        )


#: How arguments begin that choose weights: `weights`, `weights_backbone`; older: `pretrained`, `pretrained_backbone`.
_WEIGHTS = ("weights", "pretrained")


def substitute_(module: nn.Module, name: str, block: str) -> nn.Module:
    """Put a *block*, a name in `SUBSTITUTES`, in the place of the convolution *name*; return it, its weights fresh.

    Raises:
        EdgecnnError: an unknown block.
    """
    torch = require("torch", "torch")
    layer = module.get_submodule(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: nn.Module = SUBSTITUTES.load(block).build(layer)
    if (weight := getattr(layer, "weight", None)) is not None:
        made.to(weight.device, weight.dtype)
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, made.train(layer.training))
    return made


def call_factory(factory: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the module that *factory* builds: an installed one or the user's own, as `load_own` finds it.

    Fresh weights are drawn from the same seed each time, so that the same call gives the same network.

    Raises:
        EdgecnnError: no such factory, it failed, or it gave no module.
    """
    torch = require("torch", "torch")
    with explain_user_errors(f"'{factory}' failed", factory), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Networks of ours and of torchvision are installed, or not there: no folder is asked for them.
        load = load_attribute if factory.startswith(("edgecnn.", "torchvision.")) else load_own
        function = load(factory)
        none = _without_downloads(function) if factory.startswith("torchvision.") else {}
        module = function(**none | dict(arguments))
    if not isinstance(module, torch.nn.Module):
        raise EdgecnnError(f"'{factory}' gave a {type(module).__name__}, not a torch.nn.Module")
    return module  # type: ignore[no-any-return]


def _without_downloads(function: Any) -> dict[str, None]:
    """Return the arguments with which a *function* of torchvision downloads no weights; some do by default."""
    parameters = inspect.signature(function).parameters
    return {name: None for name in ("weights", "weights_backbone") if name in parameters}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file by name.

    Raises:
        EdgecnnError: the file is broken.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, no dict)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Copy *weights* into *module*, all of them and all of its own.

    Raises:
        EdgecnnError: names or shapes differ; the message gives the first three.
    """
    materialize_lazy(module, weights)
    own = module.state_dict()
    # Batch norm's counter of training steps: newer than many weight files, and without meaning once trained.
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    extra = [name for name in weights if name not in own]
    wrong = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if missing or extra or wrong:
        parts = [
            *(f"{len(missing)} missing: {', '.join(missing[:3])}" for _ in missing[:1]),
            *(f"{len(extra)} unknown: {', '.join(extra[:3])}" for _ in extra[:1]),
            *(
                f"{len(wrong)} of the wrong shape: "
                + ", ".join(f"{n} {list(weights[n].shape)} for {list(own[n].shape)}" for n in wrong[:3])
                for _ in wrong[:1]
            ),
        ]
        raise EdgecnnError(f"weights in {where} do not match the network: {'; '.join(parts)}")
    own.update(weights)  # it says as well of which version each layer's tensors are, which files of tensors do not
    module.load_state_dict(own)


def materialize_lazy(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give layers of *module* that wait for an input to know their size that of *weights*; its values are undefined.

    Raises:
        EdgecnnError: such a layer has no tensor in *weights*.
    """
    lazy, is_lazy = require("torch.nn.modules.lazy", "torch"), require("torch.nn.parameter", "torch").is_lazy
    for prefix, layer in module.named_modules():
        if not isinstance(layer, lazy.LazyModuleMixin):
            continue
        for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if not is_lazy(tensor):
                continue
            key = f"{prefix}.{name}" if prefix else name
            if key not in weights:
                raise EdgecnnError(f"{key}: its layer takes its size from an input, and the weights do not have one")
            tensor.materialize(weights[key].shape)
            if name == "weight":
                _adopt_sizes(layer, weights[key].shape)
        # What its first input would do: from here on it is a layer like any other. As sizes are known, none is needed.
        layer._infer_parameters(layer, (None,))


def resize_to(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give every layer of *module* the size of its tensors in *weights*; new tensors are left uninitialised."""
    torch = require("torch", "torch")
    for prefix, layer in module.named_modules():
        for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            stored = weights.get(f"{prefix}.{name}" if prefix else name)
            if stored is None or stored.shape == tensor.shape:
                continue
            empty = torch.empty(stored.shape, dtype=tensor.dtype)
            is_parameter = name in layer._parameters
            setattr(layer, name, torch.nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty)
            if name == "weight":
                _adopt_sizes(layer, stored.shape)


def _adopt_sizes(layer: Any, shape: tuple[int, ...]) -> None:
    """Set the attributes that a layer keeps beside its weight, which say the same once more."""
    if hasattr(layer, "num_features"):
        layer.num_features = shape[0]
    elif hasattr(layer, "num_groups"):  # each keeps its channels
        layer.num_groups = shape[0] * layer.num_groups // layer.num_channels
        layer.num_channels = shape[0]
    elif hasattr(layer, "in_features"):
        layer.out_features, layer.in_features = shape
    elif hasattr(layer, "in_channels"):
        if layer.transposed:
            layer.in_channels, layer.out_channels = shape[0], shape[1] * layer.groups
            return
        is_depthwise = layer.groups == layer.in_channels == layer.out_channels
        # Groups that were cut to a filter each are depthwise from then on, and go one by one.
        if is_depthwise or shape[0] < layer.groups:
            layer.groups = shape[0]
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups


def _opened(path: Path) -> Any:
    safetensors = require("safetensors", "torch")
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}'")
    check_downloaded(path)
    try:
        return safetensors.safe_open(str(path), framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        raise EdgecnnError(f"{path}: not a complete safetensors file ({error})") from None
