"""Decoders: functions that make boxes of the raw outputs of a detector's heads, in numpy.

An exported file keeps its raw outputs, since decoding belongs to the application. A decoder's parameters are numbers
and travel as JSON in the file's metadata, so that a file can be judged without the code that made it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.parsing import from_table, read_json
from edgecnn.tables import Table
from edgecnn.tasks.anchors import Grid
from edgecnn.tasks.heads import Parameters
from edgecnn.tasks.task import Outputs
from edgecnn.user_code import explain_user_errors

DECODERS = Table(
    "decoder",
    {
        "fcos": "edgecnn.tasks.heads:Fcos",
        "ssd": "edgecnn.tasks.heads:Ssd",
        "retinanet": "edgecnn.tasks.heads:RetinaNet",
        "yolov5": "edgecnn.tasks.heads:YoloV5",
        "yolov8": "edgecnn.tasks.heads:YoloV8",
    },
    takes_own=True,
)


class Decoder(Protocol):
    """What makes answers of raw outputs: boxes, or label images of the logits of a head of one's own."""

    def __call__(self, outputs: Outputs) -> Any:
        """Return the answers for n samples; of a detector, n times `Detections` or (boxes, scores, classes)."""
        ...


@dataclass(frozen=True)
class OwnDecoder:
    """A function of the user's: `(outputs) -> boxes, scores and classes of each image`.

    Args:
        name: how it was named on the command line, or its qualified name.
        function: gets the outputs, a list of float32 arrays [n, ...], and returns n times `(boxes [k, 4], scores [k],
            classes [k])`, boxes being left, top, right and bottom in pixels of the input.
    """

    name: str
    function: Callable[[Outputs], Any]

    def __call__(self, outputs: Outputs) -> Any:
        """Return what the function makes of *outputs*.

        Raises:
            EdgecnnError: it raises.
        """
        with explain_user_errors(f"decoder {self.name} failed"):
            return self.function(outputs)


def open_decoder(given: str | Callable[[Outputs], Any], size: Grid | None = None) -> Decoder:
    """Return the decoder that a command line names, or a function in place of it.

    Args:
        given: a row of `DECODERS`, with parameters or without (`yolov8`, `yolov8:nms_threshold=0.5,detections=100`);
            `FILE.json`, an object of the parameters and the `decoder` they are for; `package.module:function` or
            `FILE.py:function`; or a function.
        size: height and width of the network's input, where the parameters do not say it.

    Raises:
        EdgecnnError: unknown name, a parameter that is unknown or of the wrong type, or the code is not there.

    Example:
        >>> open_decoder("yolov8:nms_threshold=0.5", (64, 64))
        YoloV8(size=(64, 64), score_threshold=0.001, nms_threshold=0.5, candidates=3000, detections=300, classes=None)
    """
    if not isinstance(given, str):
        if isinstance(given, (Parameters, OwnDecoder)):
            return given
        return OwnDecoder(getattr(given, "__qualname__", type(given).__name__), given)
    if given.endswith(".json"):
        return decoder_from_json(read_json(_existing(given)), given, size)
    name, _, rest = given.partition(":")
    if name in DECODERS.rows:
        return decoder_from_json({"decoder": name, **_pairs(given, rest)}, f"--decode {given}", size)
    return OwnDecoder(given, DECODERS.load(given))


def decoder_to_json(decoder: Decoder) -> dict[str, Any]:
    """Return what `decoder_from_json` reads: the parameters that differ from their defaults, and which decoder."""
    if isinstance(decoder, OwnDecoder):
        return {"decoder": decoder.name}
    assert isinstance(decoder, Parameters)
    name = next(name for name, where in DECODERS.rows.items() if where.endswith(f":{type(decoder).__name__}"))
    values = {one.name: (getattr(decoder, one.name), one.default) for one in dataclasses.fields(decoder)}
    return {"decoder": name, **{key: _plain(value) for key, (value, default) in values.items() if value != default}}


def _plain(value: Any) -> Any:
    """Return *value* as JSON has it: tuples as lists."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def decoder_from_json(document: Any, where: str, size: Grid | None = None) -> Decoder:
    """Return the decoder that *document* describes, one of edgecnn's own; *where* names the file in errors.

    Raises:
        EdgecnnError: another form, or a decoder of somebody's own, which no file may choose.
    """
    if not isinstance(document, dict) or not isinstance(document.get("decoder"), str):
        raise EdgecnnError(f"{where}: expected an object with the name of a 'decoder'")
    name = document["decoder"]
    if name not in DECODERS.rows:
        raise unknown_name(f"decoder in {where}:", name[:60], DECODERS.rows, "(name one of your own with --decode)")
    table = {key: value for key, value in document.items() if key != "decoder"}
    if size is not None:
        table.setdefault("size", list(size))
    cls: type[Any] = DECODERS.load(name)
    decoder: Decoder = from_table(cls, table, where)
    return decoder


def _pairs(text: str, rest: str) -> Mapping[str, Any]:
    """Return the numbers of `key=1,other=0.5`.

    Raises:
        EdgecnnError: another text.
    """
    pairs = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        try:
            pairs[key] = int(value) if value.isdigit() else float(value)
        except ValueError:
            raise EdgecnnError(
                f"--decode {text}: '{part}' is no parameter; write NAME:parameter=NUMBER,… or a FILE.json"
            ) from None
    return pairs


def _existing(path: str) -> Path:
    if not Path(path).is_file():
        raise EdgecnnError(f"no file at '{path}' (for --decode)")
    return Path(path)
