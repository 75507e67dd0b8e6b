"""Read JSON and TOML that others wrote, and turn them into dataclasses.

What is broken, too deep, too large, not finite or of the wrong type is refused in one line that names the file and the
key. Nothing else in edgecnn parses JSON or TOML from outside; the program on a board, which must stand alone, has its
messages checked here when they arrive.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.units import parse_bytes

T = TypeVar("T")

#: Field metadata that lets a document write a byte count as text: `size = "512MiB"`.
BYTES: Mapping[str, Any] = {"toml": "bytes"}

_MOST_DEPTH = 64
_MOST_INTEGER = 2**64
_MOST_TOML_BYTES = 2**22  # tomllib is slow, and written by hand nothing comes near
_LONGEST_SHOWN = 60
_MOST_PROBLEMS = 12
#: A key of more parts than the depth allows; tomllib's time grows with their square.
_LONG_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){{{_MOST_DEPTH},}}")


class MalformedError(EdgecnnError):
    """All that is wrong in one document, in one line: who mends it should not have to ask again after each key."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Take a sentence for each key that is missing, unknown or wrong; the first dozen are named."""
        self.problems = tuple(dict.fromkeys(problems))
        more = ("and more",) if len(self.problems) > _MOST_PROBLEMS else ()
        super().__init__("; ".join((*self.problems[:_MOST_PROBLEMS], *more)))


def _problems_of(error: EdgecnnError) -> tuple[str, ...]:
    return error.problems if isinstance(error, MalformedError) else (str(error),)


def parse_json(text: str | bytes, where: str) -> Any:
    """Return the JSON document *text*; *where* names it in errors.

    Raises:
        EdgecnnError: not JSON, nested more than 64 deep, or with a number that is not finite or has more than 64 bits.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise EdgecnnError(f"{where}: nested more than {_MOST_DEPTH} deep") from None
    except (ValueError, TypeError) as error:
        raise EdgecnnError(f"{where}: not JSON: {error}") from None
    return checked(document, where)


def read_json(path: Path) -> Any:
    """Return the JSON document in the file *path*.

    Raises:
        EdgecnnError: as `parse_json`.
    """
    return parse_json(path.read_bytes(), str(path))


def read_table(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a TOML file says, and its text.

    Raises:
        EdgecnnError: not TOML, larger than 4 MiB, or as `parse_json`.
    """
    content = path.read_bytes()
    if len(content) > _MOST_TOML_BYTES:
        raise EdgecnnError(f"{path}: not a TOML file of edgecnn: it has {len(content)} bytes")
    try:
        text = content.decode("utf-8").replace("\r\n", "\n")
        if _LONG_KEY.search(text):
            raise RecursionError
        table = tomllib.loads(text)
    except RecursionError:
        raise EdgecnnError(f"{path}: nested more than {_MOST_DEPTH} deep") from None
    except ValueError as error:
        raise EdgecnnError(f"{path}: not a TOML file: {error}") from None
    checked(table, str(path))
    return table, text


def read_toml(path: Path, cls: type[T], **given: Any) -> T:
    """Read the dataclass *cls* from a TOML file; *given* fields come from the caller, not the file.

    Raises:
        EdgecnnError: not TOML, an unknown key (named with the known ones), a missing key, or a wrong type.
    """
    table, _ = read_table(path)
    return from_table(cls, table, str(path), given)


def checked(document: Any, where: str) -> Any:
    """Return *document*, made of tables, lists and scalars as a parser gives them.

    Raises:
        EdgecnnError: it is nested more than 64 deep, or a number in it is not finite or has more than 64 bits.
    """
    left: list[tuple[Any, _Path, int]] = [(document, None, 1)]
    while left:
        value, path, depth = left.pop()
        if depth > _MOST_DEPTH and isinstance(value, dict | list):
            raise EdgecnnError(f"{where}: nested more than {_MOST_DEPTH} deep")
        if isinstance(value, dict):
            left += [(inner, (path, key), depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(inner, (path, index), depth + 1) for index, inner in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise EdgecnnError(f"{_named(where, path)}: {value} is not a finite number")
        elif isinstance(value, int) and not -_MOST_INTEGER < value < _MOST_INTEGER:
            raise EdgecnnError(f"{_named(where, path)}: an integer of more than 64 bits")
    return document


#: The key or index of a value, after the path of what it is in.
_Path = Union[tuple["_Path", "str | int"], None]  # noqa: UP007 (it names itself)


def _named(where: str, path: _Path) -> str:
    """Return *where* and the keys that lead to a value: `x.toml: memory[0].size`."""
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    for step in reversed(steps):
        where = f"{where}[{step}]" if isinstance(step, int) else _inner(where, step)
    return where


def from_table(
    cls: type[T], table: Any, where: str, given: Mapping[str, Any] | None = None, *, strict: bool = True
) -> T:
    """Turn a parsed table into the dataclass *cls*; *where* names file and key in errors.

    A list becomes a tuple, null is taken where a field may be None, an integer where it is a float. Not *strict*: keys
    that *cls* does not know are left out, as a newer edgecnn may have written them. A field's key is its name, or the
    `key` of its metadata; under the `formerly` of its metadata it is read as well, so that older files keep working.

    Example: `from_table(Core, {"name": "Cortex-A72", "count": 4}, "my.toml: cores[0]")`.

    Raises:
        EdgecnnError: no table, or one that *cls* refuses; as `MalformedError` all keys that are unknown, missing or of
            the wrong type.
    """
    if not isinstance(table, dict):
        raise EdgecnnError(f"{where}: expected a table, found {_shown(table)}")
    hints = _hints(typing.cast("Any", cls))
    values: dict[str, Any] = dict(given or {})
    own = [field for field in dataclasses.fields(cls) if field.init and field.name not in values]  # type: ignore[arg-type]
    fields = {field.metadata.get("key", field.name): field for field in own}
    known = fields | {field.metadata["formerly"]: field for field in own if "formerly" in field.metadata}
    problems: list[str] = []
    for key, value in table.items():
        if key in known:
            name, is_bytes = known[key].name, known[key].metadata.get("toml") == "bytes"
            try:
                values[name] = _convert(hints[name], value, _inner(where, key), is_bytes=is_bytes, strict=strict)
            except EdgecnnError as error:
                problems += _problems_of(error)
        elif strict:
            problems.append(str(unknown_name(f"key in {where}:", _one_line(key), fields)))
    missing = [
        f"'{key}'"
        for key, field in fields.items()
        if not {key, field.metadata.get("formerly")} & table.keys()
        and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        problems.append(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}")
    if problems:
        raise MalformedError(problems)
    try:
        return cls(**values)
    except EdgecnnError as error:
        raise EdgecnnError(f"{where}: {error}") from None


@functools.cache  # half of the time of reading a catalogue, were it done for each table
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, or of the keys of a TypedDict."""
    return typing.get_type_hints(cls, include_extras=True)


def convert(hint: Any, value: Any, where: str) -> Any:
    """Return the parsed *value* as the type *hint* says, for example `tuple[float, ...]`; *where* names it in errors.

    A TypedDict is checked key by key; keys that it does not name are kept as they are. `Annotated[M, T]` is checked as
    T. Other forms are as in `from_table`, not strict.

    Raises:
        EdgecnnError: it is of another type.
    """
    return _convert(hint, value, where, strict=False)


def _convert(hint: Any, value: Any, where: str, *, is_bytes: bool = False, strict: bool) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _convert(arguments[1], value, where, strict=strict)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, where, is_bytes=is_bytes, strict=strict)
    if origin is Literal:
        if value not in arguments:
            raise unknown_name(f"value of {where}:", _shown(value), arguments)
        return value
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise EdgecnnError(f"{where}: expected a list, found {_shown(value)}")
        items = _each(enumerate(value), lambda i, item: _convert(arguments[0], item, f"{where}[{i}]", strict=strict))
        return origin(item for _, item in items)
    if origin is not None or typing.is_typeddict(hint):
        if not isinstance(value, dict):
            raise EdgecnnError(f"{where}: expected a table, found {_shown(value)}")
        known = _hints(hint) if origin is None else {}
        other = Any if origin is None else arguments[1]
        return dict(
            _each(
                value.items(),
                lambda key, item: _convert(
                    known.get(key, other), item, _inner(where, key), is_bytes=is_bytes, strict=strict
                ),
            )
        )
    if dataclasses.is_dataclass(hint):
        return from_table(typing.cast("type", hint), value, where, strict=strict)
    return _scalar(hint, value, where, is_bytes=is_bytes)


def _each(items: Iterable[tuple[Any, Any]], read: Callable[[Any, Any], Any]) -> list[tuple[Any, Any]]:
    """Return each key with what *read* makes of it and its value.

    Raises:
        MalformedError: *read* refuses some.
    """
    results: list[tuple[Any, Any]] = []
    problems: list[str] = []
    for key, item in items:
        try:
            results.append((key, read(key, item)))
        except EdgecnnError as error:
            problems += _problems_of(error)
            if len(problems) > _MOST_PROBLEMS:
                break
    if problems:
        raise MalformedError(problems)
    return results


def _scalar(hint: Any, value: Any, where: str, *, is_bytes: bool) -> Any:
    if is_bytes:
        return _bytes(value, where)
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise EdgecnnError(f"{where}: expected {hint.__name__}, found {_shown(value)}")
    return value


def _bytes(value: Any, where: str) -> int:
    try:
        size = parse_bytes(value) if isinstance(value, str) else value
    except EdgecnnError as error:
        raise EdgecnnError(f"{where}: {error}") from None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise EdgecnnError(f"{where}: expected a size like 64KiB or 65536, found {_shown(value)}")
    return size


def _inner(where: str, key: str) -> str:
    """Return the place of *key* in what lies at *where*: `x.toml: memory`, and in that `x.toml: memory.size`."""
    return f"{where}{'.' if ': ' in where else ': '}{_one_line(key)}"


def _one_line(key: str) -> str:
    """Return a *key* as messages show it: not too long, and without line ends and other control characters."""
    shown = key[:_LONGEST_SHOWN]
    return shown if shown.isprintable() else repr(shown)[1:-1]


def _shown(value: Any) -> str:
    """Return *value* as an error shows it: not longer than a line."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
