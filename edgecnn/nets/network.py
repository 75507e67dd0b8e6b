"""`Network`: a torch module with all that travels with it, and `build`, which finds one by name."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.checkpoint import Checkpoint, call_factory, load_weights, read_weights
from edgecnn.errors import EdgecnnError, format_error, require, unknown_name
from edgecnn.nets import NETS
from edgecnn.nets.builders import dense_shape, timm_preprocessing, torchvision_dense, torchvision_names
from edgecnn.nets.layout import channels_last
from edgecnn.nets.onnx import read_onnx_network
from edgecnn.nets.outputs import input_names, tensors_of
from edgecnn.nets.program import read_program
from edgecnn.nets.several import SeveralInputs, shapes_by_name
from edgecnn.nets.weights import SUFFIXES, read_weight_file
from edgecnn.normalization import Normalization, Resize
from edgecnn.short_repr import short_repr
from edgecnn.user_code import explain_user_errors, is_file_name, load_own

MODEL_FORMS = (
    "edgecnn:NAME, torchvision:NAME, timm:NAME, package.module:factory, FILE.py:factory, or a .safetensors, .pt2 or "
    ".onnx file"
)
#: What a checkpoint gives the factories of networks of ours and of torchvision.
_ARGUMENTS = (
    "aux_logits",
    "channels",
    "classes",
    "faithful",
    "init_weights",
    "num_classes",
    "transform_input",
    "weights",
)
_MOST_CLASSES = 2**15  # that a checkpoint may ask for; all of ImageNet has 21 841
_MOST_PARAMS = 2**28  # of a network of ours; the largest has 2**25 for the images it is made for


@dataclass(frozen=True)
class Network:
    """A module in evaluation mode, with its name, shape, normalization and labels.

    Example:
        >>> network = edgecnn.build("edgecnn:digits-cnn")
        >>> network.input_shape
        (1, 8, 8)
    """

    __repr__ = short_repr

    name: str  # for file names
    module: nn.Module
    checkpoint: Checkpoint | None = None  # how to rebuild it; None for an exported program
    input_shape: tuple[int, ...] | None = None  # (C, H, W)
    normalization: Normalization | None = None
    labels: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = field(default=())
    resize: Resize | None = None  # how its makers bring images to its size
    prototype: nn.Module | None = None  # the module before any cut, where it was given and no factory builds it

    def __post_init__(self) -> None:
        """See that the weights are in float32.

        Raises:
            EdgecnnError: some are of another type.
        """
        types = {one.dtype for one in self.module.parameters() if one.is_floating_point()} - {torch.float32}
        if types:
            named = " and ".join(sorted(str(one).removeprefix("torch.") for one in types))
            raise EdgecnnError(
                f"network {self.name} has weights in {named}; edgecnn takes float32 and makes smaller types itself: "
                "return module.float()"
            )

    def with_inputs(self, shapes: Sequence[tuple[int, ...]]) -> Network:
        """Return the network as one that takes rows, the values of all its inputs, of these *shapes* (C, H, W).

        Raises:
            EdgecnnError: it takes another number of inputs.
        """
        named = shapes_by_name(self.input_names, shapes, self.name)
        return replace(self, module=SeveralInputs(self.module, named).eval(), input_shape=None)

    @property
    def input_names(self) -> list[str]:
        """The names of its inputs: those that the arguments of its `forward` have, where there are several."""
        if isinstance(self.module, SeveralInputs):
            return list(self.module.shapes)
        return input_names(self.module)

    def outputs(self, x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Return the outputs for normalised inputs [n, C, H, W], each [n, ...].

        Raises:
            EdgecnnError: the network does not take this shape, or gives something other than tensors.
        """
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=self.is_lazy):
                if self.is_lazy:
                    torch.manual_seed(0)  # its weights are drawn here: the same each time, as `call_factory` says
                result = self.module(torch.from_numpy(x.copy()))  # it may write over its input
        except Exception as error:
            if len(self.input_names) > 1 and not isinstance(self.module, SeveralInputs):
                shapes_by_name(self.input_names, [x.shape[1:]], self.name)
            # The user's own code ran: what it raises is reported as theirs, in one line.
            order = " (batch, channels, height, width)" if x.ndim == 4 else ""
            raise EdgecnnError(
                f"network {self.name} does not take inputs of shape {list(x.shape)}{order}: {format_error(error)}"
            ) from error
        tensors = tensors_of(result, self.name)
        return [(one.float() if one.is_floating_point() else one).numpy() for one in tensors]

    def in_fastest_layout(self, x: npt.NDArray[np.float32]) -> Network:
        """Return the network in the order of memory that it runs fastest in, tried on inputs *x* [n, ...]."""
        if self.is_lazy:
            return self
        return replace(self, module=channels_last(self.module, torch.from_numpy(np.ascontiguousarray(x))))

    @property
    def channels(self) -> int | None:
        """How many channels its images have, by its input shape or its first convolution; None: it does not say."""
        if self.input_shape is not None:
            return self.input_shape[0] if len(self.input_shape) == 3 else None
        first = next((part for part in self.module.modules() if isinstance(part, nn.Conv2d)), None)
        # Modules stand in the order in which they were set, which is nearly always that of their work.
        return first.in_channels if first is not None and first.in_channels in (1, 3) else None

    def as_designed(self) -> nn.Module:
        """Return the original network anew, before any cut, with weights that mean nothing.

        Raises:
            EdgecnnError: as `call_factory` does.
        """
        if self.prototype is not None:
            return copy.deepcopy(self.prototype)
        assert self.checkpoint is not None
        return call_factory(self.checkpoint.factory, self.checkpoint.arguments)

    @property
    def is_lazy(self) -> bool:
        """Whether a layer waits for its first input to know its size."""
        return any(torch.nn.parameter.is_lazy(parameter) for parameter in self.module.parameters())

    def check_code(self) -> None:
        """See that no part of the module is TorchScript, whose code is fixed and whose layers are no layers of torch.

        Raises:
            EdgecnnError: a part is; it is named. Or the network takes several inputs.
        """
        if len(self.input_names) > 1:
            names = ", ".join(self.input_names)
            raise EdgecnnError(
                f"network {self.name} cannot be cut: it takes several inputs ({names}); it can be exported"
            )
        for name, part in self.module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                what = f"its {name}" if name else "it"
                raise EdgecnnError(
                    f"network {self.name} cannot be cut: {what} was scripted or traced by torch.jit; "
                    "give the module that it was made from"
                )

    def weights_sha256(self) -> str:
        """Return a sha256 over the names, shapes and bytes of all weights, in the order of their names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


#: What is taken wherever a model is: its name or file, a module of torch, or a `Network`.
Model: TypeAlias = "str | Path | nn.Module | Network"


def build(
    model: Model,
    *,
    weights: str | Path | None = None,
    classes: int | None = None,
    channels: int | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> Network:
    """Return the network *model* names, or the module that is given as one.

    Args:
        model: `edgecnn:NAME`, `torchvision:NAME`, `package.module:factory`, `FILE.py:factory`, a `.safetensors`
            checkpoint, a `.pt2` or an `.onnx`; an `nn.Module`, which is copied; or a `Network`, which is returned as it
            is.
        weights: a file that `read_weight_file` reads; for torchvision also `DEFAULT`.
        classes: how many classes a network of ours or of torchvision is built for, where its weights do not decide;
            also for a factory whose `num_classes` has no default.
        channels: how many channels the images have, for networks of ours, or a factory's `in_channels` without default.
        input_shape: (C, H, W) of a module's input; None: as the module says, or the data.

    Raises:
        EdgecnnError: unknown network, weights that do not fit, a pickle that would need code to run.

    Example:
        >>> build("edgecnn:digits-cnn").input_shape
        (1, 8, 8)
    """
    if isinstance(model, Network):
        if weights is not None:
            raise EdgecnnError(f"network {model.name} has its weights; leave weights out")
        return model
    if isinstance(model, nn.Module):
        return _from_module(model, weights, input_shape)
    if not isinstance(model, (str, Path)):
        raise EdgecnnError(
            f"a model cannot be an object of type {type(model).__name__}; edgecnn takes an nn.Module (with "
            f"input_shape), a Network, or its name: {MODEL_FORMS}"
        )
    model = str(model)
    path = Path(model)
    if path.suffix in SUFFIXES:
        raise EdgecnnError(f"{model}: a weights file does not name its network; give FILE.py:factory --weights {model}")
    if path.suffix == ".tflite":
        raise EdgecnnError(
            f"{model} is an exported file, which is not cut or exported again; give the network that it was made from, "
            "FILE.py:factory for example"
        )
    if path.suffix == ".onnx":
        return _from_onnx(path, weights, input_shape)
    if path.suffix in (".safetensors", ".pt2"):
        if weights is not None:
            raise EdgecnnError(f"{model} holds its own weights; leave --weights out")
        return _from_checkpoint(path) if path.suffix == ".safetensors" else _from_program(path)
    if path.suffix == ".py":
        raise EdgecnnError(f"{model}: Which function of it builds the network? Give {model}:factory")
    kind, colon, name = model.rpartition(":") if ".py:" in model else model.partition(":")
    if not colon or not name:
        raise _unknown_model(model)
    if kind == "edgecnn":
        arguments = {"classes": classes, "channels": channels}
        given = {key: value for key, value in arguments.items() if value is not None}
        return _from_factory(name, NETS.where(name), given, weights)
    if kind == "torchvision":
        return _from_torchvision(name, weights, classes)
    if kind == "timm":
        return _from_timm(name, weights, classes)
    # `mynet:factory` and `mynet.py:factory` are known as mynet-factory.
    stem = Path(kind).stem if is_file_name(kind) else kind.rpartition(".")[2]
    return _from_factory(f"{stem}-{name}", model, _required(model, classes, channels), weights)


def _required(factory: str, classes: int | None, channels: int | None) -> dict[str, int]:
    """Return what the user's *factory* cannot do without and the data say: the number of classes or of channels.

    A parameter with a default keeps it: one output for two classes, for example, is the network's own choice.
    """
    known = {"num_classes": classes, "classes": classes, "in_channels": channels, "channels": channels}
    with explain_user_errors(f"'{factory}' failed", factory):
        try:
            parameters = inspect.signature(load_own(factory)).parameters.values()
        except (TypeError, ValueError):  # not callable, or a callable that does not say
            return {}
    required = [one.name for one in parameters if one.default is one.empty]
    return {name: value for name, value in known.items() if name in required and value is not None}


def _unknown_model(model: str) -> EdgecnnError:
    """Return the error for a *model* of no known form, with the form it may have been meant to have."""
    guesses = [f"{model}.py:factory"] if Path(f"{model}.py").is_file() else []
    guesses += [f"edgecnn:{name}" for name in NETS.names() if name == model]
    guesses += [f"torchvision:{name}" for name in ([] if guesses else torchvision_names()) if name == model]
    if not guesses:
        known = {f"edgecnn:{name}" for name in NETS.names()} | {f"torchvision:{name}" for name in torchvision_names()}
        near = difflib.get_close_matches(model, [name.partition(":")[2] for name in known], n=2)
        guesses = [name for name in sorted(known) if name.partition(":")[2] in near]
    guess = f"; did you mean {' or '.join(guesses)}?" if guesses else ";"
    return EdgecnnError(f"unknown model '{model}'{guess} MODEL is one of {MODEL_FORMS}")


def _from_factory(name: str, factory: str, arguments: dict[str, Any], weights: str | Path | None) -> Network:
    path = None if weights is None else Path(weights)
    stored = Checkpoint.read(path) if path is not None and path.suffix == ".safetensors" else None
    if path is not None and stored is not None:
        # A checkpoint of this network, pruned perhaps: its shapes count, and what it says beside the weights.
        return _of_checkpoint(path, dataclasses.replace(stored, factory=factory))
    module = call_factory(factory, arguments).eval()
    warnings: tuple[str, ...] = ()
    if path is not None:
        warnings = _load_file(module, path)
    elif factory in NETS.rows.values():
        warnings = (f"{name} has random weights (no --weights): its accuracy is meaningless",)
    else:
        warnings = (f"{name}: no --weights given, so its accuracy is that of the weights from its factory",)
    return _described(Network(_stem(path) if path else name, module, Checkpoint(factory, arguments), warnings=warnings))


def _stem(path: Path) -> str:
    """Return the name of a weight file without `.pth` or `.pth.tar`."""
    return path.with_suffix("").stem if path.suffix == ".tar" else path.stem


def _load_file(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Copy the weights of a file into *module*; return notes on what was taken of it."""
    read = read_weight_file(path, list(module.state_dict()))
    load_weights(module, read.tensors, str(path))
    return read.notes


def _from_module(module: nn.Module, weights: str | Path | None, input_shape: tuple[int, ...] | None) -> Network:
    """Return a copy of the user's *module* as a network; no name stands for it, so it is its own `prototype`."""
    while isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        module = module.module
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    name = type(module).__name__
    try:
        own = copy.deepcopy(module).cpu().eval()
    except Exception as error:
        raise EdgecnnError(f"the {name} cannot be copied: {format_error(error)}") from error
    network = Network(name.lower(), own, Checkpoint(name), prototype=copy.deepcopy(own))
    path = None if weights is None else Path(weights)
    stored = Checkpoint.read(path) if path is not None and path.suffix == ".safetensors" else None
    if path is not None and stored is not None:
        found = _of_checkpoint(path, dataclasses.replace(stored, factory=name), copy.deepcopy(own))
        network = dataclasses.replace(found, prototype=network.prototype)
    elif path is not None:
        network = dataclasses.replace(network, name=_stem(path), warnings=_load_file(own, path))
    shaped = _described(network) if stored is None else network
    return shaped if input_shape is None else dataclasses.replace(shaped, input_shape=tuple(input_shape))


def _from_torchvision(name: str, weights: str | Path | None, classes: int | None) -> Network:
    models = require("torchvision.models", "torch")
    dense = [*torchvision_names("detection"), *torchvision_names("segmentation")]
    if name in dense:
        return _from_torchvision_dense(name, weights, classes)
    if name not in torchvision_names():
        hint = "(torchvision.models.list_models() lists them)"
        raise unknown_name("torchvision network", name, [*torchvision_names(), *dense], hint)
    arguments: dict[str, Any] = {}
    if weights != "DEFAULT" and classes is not None:
        arguments["num_classes"] = classes
    enum = models.get_model_weights(name).DEFAULT
    preset = enum.transforms()
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False  # they warn without it; the weights come from elsewhere
    if weights == "DEFAULT":
        try:
            module = models.get_model(name, weights=enum).eval()
        except (OSError, RuntimeError) as error:
            raise EdgecnnError(f"torchvision's weights for {name} could not be downloaded: {error}") from None
        # With weights of its own, torchvision builds some networks otherwise than without.
        arguments |= {key: getattr(module, key) for key in ("aux_logits", "transform_input") if hasattr(module, key)}
        warnings: tuple[str, ...] = ()
    else:
        module = call_factory(f"torchvision.models:{name}", arguments).eval()
        warnings = (f"{name} has random weights (no --weights): its accuracy is meaningless",) if not weights else ()
        if weights is not None:
            warnings = _load_file(module, Path(weights))
    side = preset.crop_size[0]
    resize = Resize(preset.resize_size[0], preset.interpolation.value)
    labels = tuple(enum.meta["categories"]) if weights == "DEFAULT" else None
    return Network(
        name,
        module,
        Checkpoint(f"torchvision.models:{name}", arguments),
        (3, side, side),
        Normalization(tuple(preset.mean), tuple(preset.std)),
        labels,
        warnings,
        resize,
    )


def _from_torchvision_dense(name: str, weights: str | Path | None, classes: int | None) -> Network:
    """Return a detector or segmentation network of torchvision."""
    arguments: dict[str, Any] = {"name": name}
    if classes is not None and weights != "DEFAULT":
        arguments["num_classes"] = classes
    if weights == "DEFAULT":
        enum = require("torchvision.models", "torch").get_model_weights(name).DEFAULT
        try:
            module = torchvision_dense(name, weights=enum).eval()
        except OSError as error:
            raise EdgecnnError(f"torchvision's weights for {name} could not be downloaded: {error}") from None
    else:
        module = call_factory("edgecnn.nets.builders:torchvision_dense", arguments).eval()
    warnings = _load_file(module, Path(weights)) if weights not in (None, "DEFAULT") and weights else ()
    if weights is None:
        warnings = (f"{name} has random weights (no --weights): its accuracy is meaningless",)
    own = getattr(module, "normalization", None)
    checkpoint = Checkpoint("edgecnn.nets.builders:torchvision_dense", arguments)
    normalization = own if isinstance(own, Normalization) else Normalization.of("imagenet")
    labels = getattr(module, "labels", None)
    return Network(name, module, checkpoint, dense_shape(name), normalization, labels, warnings)


def _from_timm(name: str, weights: str | Path | None, classes: int | None) -> Network:
    if weights == "DEFAULT":
        raise EdgecnnError(f"timm:{name}: edgecnn downloads no weights of timm; give --weights FILE")
    arguments: dict[str, Any] = {"name": name, **({} if classes is None else {"num_classes": classes})}
    network = _from_factory(name, "edgecnn.nets.builders:timm_network", arguments, weights)
    shape, normalization = timm_preprocessing(network.module)
    if weights is None:
        random = f"{name} has random weights (no --weights): its accuracy is meaningless"
        network = dataclasses.replace(network, warnings=(random,))
    return dataclasses.replace(
        network,
        input_shape=network.input_shape or shape,
        normalization=network.normalization or normalization,
    )


def _from_checkpoint(path: Path) -> Network:
    checkpoint = Checkpoint.read(path)
    if checkpoint is None:
        first = ", ".join(list(read_weights(path))[:3])
        raise EdgecnnError(
            f"{path} holds weights alone ({first}, …), not an edgecnn checkpoint; "
            f"name the network: package.module:factory --weights {path}"
        )
    module_name, colon, attribute = checkpoint.factory.partition(":")
    if checkpoint.factory.endswith(".onnx"):
        raise EdgecnnError(f"{path} was cut from {checkpoint.factory}: give {checkpoint.factory} --weights {path}")
    if not colon:
        raise EdgecnnError(
            f"{path} was made of a module given in Python ({checkpoint.factory}): name a function that builds it, "
            f"FILE.py:factory --weights {path}, or in Python edgecnn.build(module, weights=...)"
        )
    ours = checkpoint.factory in NETS.rows.values()
    if not ours and not (module_name == "torchvision.models" and attribute in torchvision_names()):
        # A file must not choose which code runs.
        raise EdgecnnError(
            f"{path} names '{checkpoint.factory}', which is not edgecnn's code; if you trust it, give "
            f"{checkpoint.factory} --weights {path}"
        )
    _check_size(path, checkpoint)
    return _of_checkpoint(path, checkpoint)


def _check_size(path: Path, checkpoint: Checkpoint) -> None:
    """See, before any memory is taken for it, that the original network that a file asks for is not huge.

    Raises:
        EdgecnnError: it is.
    """
    for name, value in checkpoint.arguments.items():
        if name not in _ARGUMENTS:
            raise unknown_name(f"argument in {path}:", name, _ARGUMENTS)
        if isinstance(value, (int, float)) and not abs(value) <= _MOST_CLASSES:
            raise EdgecnnError(f"{path}: its argument {name} = {value} is too large; at most {_MOST_CLASSES}")
    if checkpoint.factory in NETS.rows.values():  # several of torchvision's cannot be built without memory
        with torch.device("meta"):
            module = call_factory(checkpoint.factory, checkpoint.arguments)
        params = sum(parameter.numel() for parameter in module.parameters())
        if params > _MOST_PARAMS:
            raise EdgecnnError(f"{path}: asks for a network of {params} parameters; edgecnn takes up to {_MOST_PARAMS}")


def _of_checkpoint(path: Path, checkpoint: Checkpoint, original: nn.Module | None = None) -> Network:
    module = checkpoint.rebuild(path, original)
    return Network(path.stem, module, checkpoint, checkpoint.input_shape, checkpoint.normalization, checkpoint.labels)


def _from_program(path: Path) -> Network:
    module, input_shape = read_program(path)
    return Network(path.stem, module, None, input_shape)


def _from_onnx(path: Path, weights: str | Path | None, input_shape: tuple[int, ...] | None) -> Network:
    """Return the network of an ONNX file; *weights* are a checkpoint that was cut from it."""
    source = Artifact.open(path, input_shape=input_shape)
    module = read_onnx_network(source)
    shapes = [tuple(spec.shape[1:]) for spec in source.inputs]
    if source.layout == "NHWC":
        shapes = [(shape[2], *shape[:2]) if len(shape) == 3 else shape for shape in shapes]
    module.try_batches(*shapes)
    network = _from_module(module, weights, shapes[0])
    assert network.checkpoint is not None
    own = dataclasses.replace(network.checkpoint, factory=path.name)
    return dataclasses.replace(
        network,
        checkpoint=own if module.takes_batches else None,
        name=path.stem.removesuffix(".fp32") if weights is None else network.name,
        normalization=network.normalization or source.normalization,
        labels=network.labels or tuple(source.metadata.get("labels") or ()) or None,
    )


def _described(network: Network) -> Network:
    """Add what the module itself says: its `input_shape` and `normalization` attributes, where it has them."""
    shape = getattr(network.module, "input_shape", None)
    normalization = getattr(network.module, "normalization", None)
    return dataclasses.replace(
        network,
        input_shape=tuple(shape) if shape is not None else None,
        normalization=normalization if isinstance(normalization, Normalization) else None,
    )
