"""Find and read the TOML files people add: devices, export recipes, suites."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.units import parse_bytes

T = TypeVar("T")

#: Field metadata that lets a TOML file write a byte count as text: `size = "512MiB"`.
BYTES: Mapping[str, Any] = {"toml": "bytes"}


def shipped(kind: str) -> Path:
    """Return the folder of the shipped files of one *kind* (`devices`, `export`, `benchmarks/suites`).

    It is inside the package when that was installed from a wheel, else beside the package in the checkout.
    """
    package = Path(__file__).parent
    packaged = package / "_shipped" / kind
    return packaged if packaged.is_dir() else package.parent / kind


def user_folder(kind: str) -> Path:
    """Return the user's folder for *kind*: `$EDGECNN_HOME/kind`, else under `$XDG_CONFIG_HOME`, else `~/.config`."""
    home = os.environ.get("EDGECNN_HOME")
    if home:
        return Path(home) / kind
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "edgecnn" / kind


def shipped_files(kind: str) -> dict[str, Path]:
    """Return `{name: file}` for *kind*; a file of the user's own hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in (shipped(kind), user_folder(kind)):
        if os.path.isdir(folder):  # says no, where `is_dir` raises, of a home that may not be entered
            found.update({path.stem: path for path in sorted(folder.glob("*.toml"))})
    return found


def find_shipped(kind: str, name: str, noun: str) -> Path:
    """Return the file for *name*: an explicit path, the user's own file, or a shipped one.

    Raises:
        EdgecnnError: there is none; *noun* says what was looked for.
    """
    if name.endswith(".toml") or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise EdgecnnError(f"no {noun} file at '{name}'")
        return path
    files = shipped_files(kind)
    if name not in files:
        raise unknown_name(noun, name, files, hint=f"(add one as {user_folder(kind) / (name + '.toml')})")
    return files[name]


def read_table(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a TOML file says, and its text.

    Raises:
        EdgecnnError: not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EdgecnnError(f"{path}: not a TOML file: {error}") from None


def read_toml(path: Path, cls: type[T], **given: Any) -> T:
    """Read the dataclass *cls* from a TOML file; *given* fields come from the caller, not the file.

    Raises:
        EdgecnnError: not TOML, an unknown key (named with the known ones), a missing key, or a wrong type.
    """
    table, _ = read_table(path)
    return from_table(cls, table, str(path), given)


def from_table(cls: type[T], table: Any, where: str, given: Mapping[str, Any] | None = None) -> T:
    """Turn a TOML table into the dataclass *cls*, strictly; *where* names file and key in errors.

    Raises:
        EdgecnnError: as for `read_toml`.
    """
    if not isinstance(table, dict):
        raise EdgecnnError(f"{where}: expected a table, found {type(table).__name__}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = dict(given or {})
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in values}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in fields:
            raise unknown_name(f"key in {where}:", key, fields)
        as_bytes = fields[key].metadata.get("toml") == "bytes"
        values[key] = _convert(hints[key], value, f"{where}: {key}", as_bytes)
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in values and not optional:
            raise EdgecnnError(f"{where}: missing key '{name}'")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str, as_bytes: bool) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        hint = next(argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, where, as_bytes)
    if origin is tuple:
        if not isinstance(value, list):
            raise EdgecnnError(f"{where}: expected a list, found {value!r}")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]", as_bytes) for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise EdgecnnError(f"{where}: expected a table, found {value!r}")
        return {key: _convert(arguments[1], item, f"{where}.{key}", as_bytes) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_table(typing.cast("type", hint), value, where)
    if as_bytes:
        return _convert_bytes(value, where)
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise EdgecnnError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _convert_bytes(value: Any, where: str) -> int:
    try:
        size = parse_bytes(value) if isinstance(value, str) else value
    except EdgecnnError as error:
        raise EdgecnnError(f"{where}: {error}") from None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise EdgecnnError(f"{where}: expected a size like 64KiB or 65536, found {value!r}")
    return size
