"""`Artifact`: one exported file on disk, what goes in and comes out, and how it was made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

from edgecnn.errors import EdgecnnError
from edgecnn.files import sha256_of, write_whole, written_whole
from edgecnn.formats import FORMATS, Graph, TensorSpec, read_graph
from edgecnn.formats.precision import precision_of
from edgecnn.normalization import Normalization
from edgecnn.parsing import convert, from_table, parse_json, read_json
from edgecnn.short_repr import short_repr

METADATA_KEY = "edgecnn"  # of the one JSON text that edgecnn keeps inside every file it writes


class _Metadata(TypedDict, total=False):
    """The keys of the JSON text that are read again; others are kept as they are."""

    model: str
    precision: str
    layout: Literal["NHWC", "NCHW", "NC"]  # NC: vectors
    normalization: Mapping[str, list[float]] | None
    labels: list[str] | None
    weights_sha256: str | None
    task: str | None  # what the network does, and by which metric and decoder it is judged
    metric: str | None
    decode: Mapping[str, Any] | None
    tools: dict[str, str]
    calibration: str | None
    calibration_samples: int | None
    notes: list[str]


@dataclass(frozen=True)
class Artifact:
    """One exported network: a `.tflite` or `.onnx` file and, beside it, the data files it names.

    Open one with `Artifact.open`.

    Example:
        >>> artifact = edgecnn.Artifact.open("classifier.tflite")
        >>> artifact.format, artifact.precision
        ('tflite', 'fp32')
    """

    __repr__ = short_repr

    path: Path
    graph: Graph

    @classmethod
    def open(cls, path: Path | str | Artifact, *, input_shape: tuple[int, ...] | None = None) -> Artifact:
        """Read the file at *path*; an artifact is returned as it is.

        Args:
            path: a `.tflite` or `.onnx` file.
            input_shape: (C, H, W) for what an `.onnx` file leaves open, as `read_graph` takes it.

        Raises:
            EdgecnnError: no such file, or its content is broken.
        """
        if isinstance(path, Artifact):
            return path
        graph = read_graph(path, input_shape=input_shape)
        return cls(Path(path), graph)

    @property
    def format(self) -> str:
        """`tflite` or `onnx`."""
        return self.graph.format

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What goes in."""
        return self.graph.input_specs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What comes out."""
        return self.graph.output_specs

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files: `path` first, then its data files in the order of their names."""
        return (self.path, *(self.path.parent / name for name in self.graph.data_files))

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return self.graph.size_bytes

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal sha256 of the file.

        With data files it is that of the sha256 of all `files`, a line each, as the shell gives it:
        `sha256sum net.onnx net.onnx.data | cut -c -64 | sha256sum`.
        """
        digests = [sha256_of(file) for file in self.files]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()

    def copied_to(self, path: Path | str) -> Artifact:
        """Return a copy at *path*, written whole; its data files keep their names, which the file itself holds.

        Example: `net.onnx` with `net.onnx.data`, copied to `out/net.onnx.rejected`, writes that and
        `out/net.onnx.data`.
        """
        path = Path(path)
        for source, name in zip(self.files, (path.name, *self.graph.data_files), strict=True):
            with written_whole(path.parent / name) as partial:
                shutil.copyfile(source, partial)
        return replace(self, path=path)

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What edgecnn wrote into the file (labels, normalization, layout, ...); empty for a file others made.

        Raises:
            EdgecnnError: it is damaged; the message names the key.
        """
        where = f"{self.path}: metadata"
        table: Mapping[str, Any] = convert(
            _Metadata, parse_json(self.graph.metadata.get(METADATA_KEY, b"{}"), where), where
        )
        return table

    @cached_property
    def precision(self) -> str:
        """`fp32`, `fp16`, `w4`, `w8`, `w8a8`, ...: the name of the row of `PRECISIONS` that its graph shows."""
        return precision_of(self.graph).name

    @property
    def contradictions(self) -> tuple[str, ...]:
        """A sentence for each of its metadata that its graph shows to be wrong; the graph is what counts."""
        claimed = self.metadata.get("precision")
        if claimed in (None, self.precision):
            return ()
        if in_float := self._layers_in_float():
            return (
                f"{self.path.name} is {claimed} in part: {' and '.join(in_float)} "
                f"{'computes' if len(in_float) == 1 else 'compute'} in float, with most of the weights, so it counts "
                f"as {self.precision}",
            )
        return (
            f"{self.path.name} says that it is {claimed}, but its tensors are {self.precision}; the tensors decide",
        )

    def _layers_in_float(self) -> list[str]:
        """Return the kinds of layers that a file with integers computes in float: its runtime has no other kernels."""
        kinds = {operator.kind for operator in self.graph.operators}
        if kinds.isdisjoint(("QUANTIZE", "DEQUANTIZE", "QuantizeLinear")):
            return []
        floats = {name for _, name in self.graph.float_operators()}
        layers = [operator for operator in self.graph.operators if operator.macs]
        return sorted({one.kind for one in layers if self.graph.tensors[one.outputs[0]].name in floats})

    @property
    def normalization(self) -> Normalization | None:
        """How pixels become its input; None where the file does not say."""
        stored = self.metadata.get("normalization")
        if stored is None:
            return None
        where = f"{self.path}: metadata.normalization"
        lists = {key: convert(list[float], stored.get(key), f"{where}.{key}") for key in ("mean", "std")}
        return from_table(Normalization, lists, where)

    @property
    def layout(self) -> str:
        """`NHWC` or `NCHW`: as its maker wrote, else as the input's shape shows, else the custom of the format."""
        written = self.metadata.get("layout")
        if written:
            return str(written)
        shape = self.inputs[0].shape if self.inputs else ()
        colours = [len(shape) == 4 and shape[axis] in (1, 3) for axis in (1, -1)]
        if colours[0] != colours[1]:
            return "NCHW" if colours[0] else "NHWC"
        return FORMATS[self.format].layout

    @property
    def history_path(self) -> Path:
        """The JSON file beside the artifact."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def history(self) -> list[dict[str, Any]]:
        """The steps that made the file, oldest first; empty where no history lies beside it.

        Raises:
            EdgecnnError: what lies beside it is broken, or the history of another file.
        """
        return [dict(step) for step in self._recorded("history", list[Mapping[str, Any]]) or ()]

    @property
    def result(self) -> dict[str, Any]:
        """What its verification found, as `write_history` was given it; empty where no history lies beside it.

        Raises:
            EdgecnnError: as `history`.
        """
        return dict(self._recorded("result", Mapping[str, Any]) or {})

    def _recorded(self, key: str, kind: Any) -> Any:
        """Return the value at *key*, of the type *kind*, in the JSON beside the file; None where there is none."""
        if not self.history_path.is_file():
            return None
        document = convert(Mapping[str, Any], read_json(self.history_path), str(self.history_path))
        sha256 = str(document.get("sha256"))
        if sha256 != self.sha256:
            raise EdgecnnError(
                f"{self.history_path} does not belong to {self.path}: its sha256 is {sha256[:12]}…, the file's "
                f"{self.sha256[:12]}…; export the file again, or delete the JSON"
            )
        return convert(kind, document.get(key), f"{self.history_path}: {key}")

    def write_history(self, history: list[dict[str, Any]], result: Mapping[str, Any]) -> None:
        """Write the steps and the verification *result* beside the file."""
        document = {
            "schema_version": 1,
            "file": self.path.name,
            "sha256": self.sha256,
            "metadata": dict(self.metadata),
            "history": history,
            "result": dict(result),
        }
        write_whole(self.history_path, json.dumps(document, indent=2) + "\n")
