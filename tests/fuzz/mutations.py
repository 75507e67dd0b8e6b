"""Change one valid input, field by field, so that most of it stays what a reader expects."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecnn.formats.tflite import read_tflite

_INTEGERS = (
    0,
    1,
    2,
    3,
    16,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    -1,
    -(2**31),
)
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, 10**30, float("nan"), float("inf"), "", "x", "\x1b[31m", [], {}, [[]], {"a": None},
)  # fmt: skip


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """Return *content* with some bytes changed, taken out or said twice; numbers of 4 bytes are changed as wholes."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(max(len(changed), 1))
        match random.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                at -= at % 4
                changed[at : at + 4] = (random.choice(_INTEGERS) % 2**32).to_bytes(4, "little")
            case 2:
                del changed[at : at + random.choice((1, 4, 64))]
            case 3:
                changed[at:at] = changed[at : at + random.choice((1, 4, 64))]
            case _:
                del changed[at + 1 :]
    return bytes(changed)


def mutated_document(document: Any, random: Random) -> Any:
    """Return a parsed JSON or TOML document with one value or key changed, or nested deeply."""
    changed = copy.deepcopy(document)
    place, key = random.choice(list(_places(changed)))
    match random.randrange(6):
        case 0:
            del place[key]
        case 1:
            deep: Any = 0
            for _ in range(random.choice((10, 63, 64, 65, 100))):
                deep = [deep] if random.random() < 0.5 else {"a": deep}
            place[key] = deep
        case 2:
            place[key] = [copy.deepcopy(place[key])] * random.choice((1, 2, 100))
        case 3 if isinstance(place, dict):
            place[random.choice(("", "x", "name", key + "s"))] = place.pop(key)
        case _:
            place[key] = random.choice((*_VALUES, *_INTEGERS))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every value in a document."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list) and value[key]:
            yield from _places(value[key])


def mutated_tflite(content: bytes, random: Random) -> bytes:
    """Return a flatbuffer whose tables are changed field by field, and which is then whole again; or changed bytes."""
    if random.random() < 0.3 or not _is_whole(content):
        return mutated_bytes(content, random)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(random.choice((1, 1, 2, 4))):
        table, name = random.choice(list(_fields(model)))
        setattr(table, name, _changed(getattr(table, name), random))
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except Exception:  # a value that the schema's own writer cannot write
        return mutated_bytes(content, random)
    return bytes(builder.Output())


def _is_whole(content: bytes) -> bool:
    """Return whether the schema's own reader, which trusts every offset, can be let at *content*."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        try:
            read_tflite(file.name)
            schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        except Exception:
            return False
    return True


def _fields(table: Any) -> Iterator[tuple[Any, str]]:
    """Yield (table, field) of every field below a table of the schema's objects."""
    for name, value in vars(table).items():
        yield table, name
        for inner in value if isinstance(value, list) else (value,):
            if type(inner).__name__.endswith("T") and hasattr(inner, "Pack"):
                yield from _fields(inner)


def _changed(value: Any, random: Random) -> Any:
    if isinstance(value, bool | int | np.integer):
        return random.choice(_INTEGERS)
    if isinstance(value, float):
        return random.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    if isinstance(value, bytes | str):
        return random.choice((b"", b"\xff\xfe", b"\x1b]0;title\x07", b"a" * 10_000))
    if isinstance(value, list | np.ndarray) and len(value):
        items = list(value)
        at = random.randrange(len(items))
        match random.randrange(4):
            case 0:
                return items[:at]
            case 1:
                return items + items[at:]
            case 2:
                return items[::-1]
            case _ if isinstance(items[at], int | np.integer):
                items[at] = random.choice(_INTEGERS)
                return items
    return None


def mutated_onnx(content: bytes, random: Random) -> bytes:
    """Return a protobuf message with some of its fields changed, taken out or said twice; or changed bytes."""
    import onnx

    if random.random() < 0.3:
        return mutated_bytes(content, random)
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # changed before, to something that is none
        return mutated_bytes(content, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        fields = list(_set_fields(model))
        if not fields:
            break
        message, field = random.choice(fields)
        with suppress(ValueError):  # an enumerator that there is not
            _change_field(message, field, random)
    return bytes(model.SerializeToString())


def _set_fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (message, field) of every field that is set below a message of protobuf."""
    for field, value in message.ListFields():
        yield message, field
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _set_fields(inner)


def _change_field(message: Any, field: Any, random: Random) -> None:
    values = getattr(message, field.name)
    if random.random() < 0.2:
        message.ClearField(field.name)
    elif field.is_repeated:
        at = random.randrange(len(values))
        if random.random() < 0.3:
            values.extend(copy.deepcopy(list(values[at:])))
        elif field.type != field.TYPE_MESSAGE and random.random() < 0.7:
            values[at] = _value_of(field, random)
        else:
            del values[at]
    elif field.type != field.TYPE_MESSAGE:
        setattr(message, field.name, _value_of(field, random))


def _value_of(field: Any, random: Random) -> Any:
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        text = random.choice(("", "x", "y", "Relu", "Reshape", "\x1b[2K", "../../x", "a" * 10_000))
        return text if field.type == field.TYPE_STRING else text.encode()
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return random.choice((0.0, -1.0, float("nan"), float("inf")))
    bits = 64 if field.type in (field.TYPE_INT64, field.TYPE_UINT64) else 32
    value = random.choice(_INTEGERS)
    if field.type == field.TYPE_ENUM:
        return value % 40
    return (
        value % 2**bits
        if field.type in (field.TYPE_UINT64, field.TYPE_UINT32)
        else (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    )


def as_json(document: Any) -> bytes:
    """Return *document* as JSON, NaN and infinity as Python writes them."""
    return json.dumps(document).encode()


def as_toml(table: Any) -> bytes:
    """Return *table* as TOML with all of its values inline; what TOML lacks (null) becomes a text."""
    return "\n".join(f"{_key(key)} = {_toml(value)}" for key, value in table.items()).encode()


def _key(key: str) -> str:
    return json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps("" if value is None else value)
