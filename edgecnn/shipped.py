"""Find the TOML files people add: devices, export recipes, suites."""

from __future__ import annotations

import os
from pathlib import Path

from edgecnn.errors import EdgecnnError, unknown_name


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
