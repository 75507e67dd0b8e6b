"""Read exported programs (`.pt2`) by what is allowed in them, without torch's loader, which trusts the file.

A program is a zip file: its graph as JSON (`torch/_export/serde/schema.py`), its tensors as bytes. Nothing of it is
evaluated, unpickled or loaded as a library: each operator is looked up among torch's own, by `edgecnn.nets.aten`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.nets.aten import DTYPES, Step, read_step
from edgecnn.parsing import parse_json

_SCHEMA = 8  # the major version that is read; torch writes it since 2.5

#: The records of an archive. Those with no name here are refused, those that are not read may hold anything.
_RECORDS = re.compile(
    r"models/model\.json|archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt"  # a pickle, never read
    r"|extra/.*"  # what its makers put beside it, never read
)
#: A size that depends on the batch, as torch writes it; it is only looked at, and found anew when the program runs.
_SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'(, \w+=True)*\)|\b[a-z]+\d+\b")
_EXPRESSION = re.compile(r"([A-Z][A-Za-z]*\(|\d+|[-+*/%(), ])*")
_MOST_VALUES = 2**28  # of one tensor: 1 GiB of float32


def read_program(path: Path) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the module of an exported program, and the shape of its one input without the batch.

    Raises:
        EdgecnnError: not a whole archive, a record or an operator that is not allowed, more than one input, or a batch
            that is neither 1 nor open.
    """
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}'")
    try:
        with zipfile.ZipFile(path) as file:
            return _read(_Archive(file))
    except EdgecnnError as error:
        raise EdgecnnError(
            f"{path}: {error}; give the network as package.module:factory --weights FILE, or as .onnx"
        ) from None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise EdgecnnError(
            f"{path}: not a complete exported program ({error}); write it with torch.export.save"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        # What the schema does not say; the graph is tried out as well, and torch raises almost anything.
        first = "".join(str(error).strip().splitlines()[:1])
        raise EdgecnnError(f"{path}: a broken exported program ({type(error).__name__}: {first[:200]})") from None


class _Archive:
    """The records of a program; making one sees that there are no others than those known."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        names = file.namelist()
        self._root = names[0].partition("/")[0] + "/" if names else ""
        for entry in file.infolist():
            record = entry.filename.removeprefix(self._root)
            if _RECORDS.fullmatch(record) is None:
                raise EdgecnnError(f"holds {record[:100]!r}, which is not part of a network")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise EdgecnnError(f"its {record} is compressed, which torch does not do")
        if "models/model.json" not in self:
            raise EdgecnnError("holds no models/model.json: export it with torch.export.save of torch 2.9 or later")
        if "byteorder" in self and self.read("byteorder") != b"little":
            raise EdgecnnError("was written on a big-endian machine")

    def __contains__(self, record: str) -> bool:
        return self._root + record in self._file.NameToInfo

    def read(self, record: str) -> bytes:
        """Return what a record holds."""
        return self._file.read(self._root + record)

    def json(self, record: str) -> Any:
        """Return what a record of JSON says."""
        return parse_json(self.read(record), f"its {record}")


def _read(archive: _Archive) -> tuple[nn.Module, tuple[int, ...]]:
    document = archive.json("models/model.json")
    version = document["schema_version"]["major"]
    if version != _SCHEMA:
        raise EdgecnnError(f"written with schema {version}, this edgecnn reads {_SCHEMA}")
    if document.get("guards_code"):
        raise EdgecnnError("requires Python code to run on its inputs (guards_code)")
    _check_sizes(document)
    graph, signature = document["graph_module"]["graph"], document["graph_module"]["signature"]
    stored = {**_tensors(archive, "weights"), **_tensors(archive, "constants")}
    tensors: dict[str, tuple[str, torch.Tensor]] = {}
    inputs: list[str] = []
    for spec in signature["input_specs"]:
        ((kind, body),) = spec.items()
        if kind == "user_input":
            inputs.append(body["arg"]["as_tensor"]["name"])
        elif kind in _STORED:
            name = body[_STORED[kind]]
            tensors[body["arg"]["name"]] = (name, stored[name])
        else:
            raise EdgecnnError(f"takes an input of the kind {kind!r}, which is not a tensor")
    if len(inputs) != 1:
        raise EdgecnnError(f"takes {len(inputs)} inputs; edgecnn takes networks with one")
    outputs = [
        spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"] if "user_output" in spec
    ]
    steps = [step for node in graph["nodes"] if (step := read_step(node)) is not None]
    meta = graph["tensor_values"][inputs[0]]
    program = Program(tensors, steps, inputs[0], outputs)
    shape = _shape_of(meta)
    program.try_out(shape, DTYPES[meta["dtype"]])
    return program, shape


#: Kind of a stored input → where its specification has the name.
_STORED = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


def _shape_of(meta: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of the input without its batch, which is 1 or open."""
    batch, *sizes = meta["sizes"]
    if batch.get("as_int", 1) != 1:
        raise EdgecnnError(f"exported for a batch of {batch['as_int']}; export it for a batch of 1 or a dynamic batch")
    if not all(isinstance(size.get("as_int"), int) and size["as_int"] > 0 for size in sizes):
        raise EdgecnnError("has an open input size other than the batch")
    shape = tuple(size["as_int"] for size in sizes)
    if prod(shape) > _MOST_VALUES:
        raise EdgecnnError(f"takes an input of {prod(shape)} values; edgecnn takes up to {_MOST_VALUES}")
    return shape


def _check_sizes(document: Any) -> None:
    """See that all expressions in a program's JSON are sizes: numbers, symbols, and functions of both.

    Raises:
        EdgecnnError: one is something else.
    """
    if isinstance(document, list):
        for item in document:
            _check_sizes(item)
    elif isinstance(document, dict):
        text = document.get("expr_str", "")
        if not isinstance(text, str) or _EXPRESSION.fullmatch(_SYMBOL.sub("0", text)) is None:
            raise EdgecnnError(f"has the size {str(text)[:60]!r}, which is neither a number nor a simple expression")
        for item in document.values():
            _check_sizes(item)


def _tensors(archive: _Archive, kind: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a *kind*, `weights` or `constants`, by name."""
    record = f"data/{kind}/model_{kind}_config.json"
    if record not in archive:
        return {}
    contents: dict[str, bytearray] = {}  # several tensors may be views of one record
    tensors = {}
    for name, entry in archive.json(record)["config"].items():
        if entry["use_pickle"] or entry["tensor_meta"] is None:
            raise EdgecnnError(f"holds {name!r} as an object, and reading it would run code")
        place = entry["path_name"]
        if place not in contents:
            contents[place] = bytearray(archive.read(f"data/{kind}/{place}"))
        tensors[name] = _tensor(name, contents[place], entry["tensor_meta"])
        if entry["is_param"] and tensors[name].is_floating_point():
            tensors[name] = nn.Parameter(tensors[name])
    return tensors


def _tensor(name: str, content: bytearray, meta: Mapping[str, Any]) -> torch.Tensor:
    dtype = DTYPES[meta["dtype"]]
    sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
    offset = meta["storage_offset"]["as_int"]
    if len(content) < prod(sizes) * dtype.itemsize:
        raise EdgecnnError(f"has {len(content)} bytes for {name!r} of {sizes}")
    if not content or 0 in sizes:
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).as_strided(sizes, strides, offset)  # refuses what lies outside


@dataclass(frozen=True)
class _Graph:
    """The operators of a program in their order, and the names of what goes in and what comes out."""

    steps: Sequence[Step]
    input: str
    outputs: Sequence[str]

    def run(self, x: torch.Tensor, tensors: Mapping[str, torch.Tensor], *, limit: bool = False) -> Any:
        """Return what the program gives for *x*; with *limit* no tensor on the way may be huge."""
        values: dict[str, Any] = {**tensors, self.input: x}
        for step in self.steps:
            made = step.run(values, x.device)
            for tensor in made if limit else ():
                if isinstance(tensor, torch.Tensor) and tensor.numel() > _MOST_VALUES:
                    raise EdgecnnError(f"its {step.name} gives {tensor.numel()} values; edgecnn takes {_MOST_VALUES}")
        outputs = [values[name] for name in self.outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class Program(nn.Module):
    """A module that runs the operators of an exported program one after another."""

    def __init__(
        self, tensors: Mapping[str, tuple[str, torch.Tensor]], steps: Sequence[Step], name: str, outputs: Sequence[str]
    ) -> None:
        super().__init__()
        self._graph = _Graph(steps, name, outputs)
        self._places = {value: _put(self, place, tensor) for value, (place, tensor) in tensors.items()}

    def forward(self, x: torch.Tensor) -> Any:
        """Map [N, ...] to what the program gives, one sample at a time: its batch may be fixed at 1."""
        tensors = {value: getattr(layer, leaf) for value, (layer, leaf) in self._places.items()}
        if x.shape[0] == 1:
            return self._graph.run(x, tensors)
        singles = [self._graph.run(x[index : index + 1], tensors) for index in range(x.shape[0])]
        if isinstance(singles[0], torch.Tensor):
            return torch.cat(singles)
        return tuple(torch.cat(parts) for parts in zip(*singles, strict=True))

    def try_out(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Run on an input [1, *shape] without values or memory, to see that all operators take what they are given.

        Raises:
            EdgecnnError: a tensor on the way is huge.
            Exception: whatever torch raises.
        """
        tensors = {value: getattr(layer, leaf).to("meta") for value, (layer, leaf) in self._places.items()}
        with torch.no_grad():
            self._graph.run(torch.empty((1, *shape), dtype=dtype, device="meta"), tensors, limit=True)

    def train(self, mode: bool = True) -> Program:
        """Stay as exported: what training changes was decided when the program was written."""
        self.training = False
        return self


def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> tuple[nn.Module, str]:
    """Register *tensor* as `features.0.weight` in modules of those names; return the innermost and the last name."""
    *parts, leaf = name.split(".")
    for part in parts:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(leaf, tensor)
    else:
        module.register_buffer(leaf, tensor)
    return module, leaf
