"""`edgecnn doctor`: what is installed and what is missing, which boards answer, and where things lie."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgecnn import __version__
from edgecnn.benchmarks.history import history_file
from edgecnn.errors import EdgecnnError
from edgecnn.shipped import user_folder
from edgecnn.short_repr import short_repr
from edgecnn.targets import open_target, tied_targets
from edgecnn.targets.board.image import check_programs, find_image

#: Extra → what one can do with it. `dev` and `all` are of no use to a user by themselves, `torch` is in `timm`.
PURPOSES = {
    "torch": "compress and export",
    "litert": "run TFLite files",
    "onnx": "run ONNX files",
    "mcu": "run files in TFLite Micro's interpreter",
    "report": "draw the report",
    "detection": "score detectors (mAP)",
    "timm": "take models of timm",
    "openvino": "run ONNX files in OpenVINO",
    "study": "run studies on several cores",
    "dask": "run studies on several machines",
}


@dataclass(frozen=True)
class Package:
    """One package that an extra asks for."""

    name: str
    minimum: str  # the lowest version that will do; "" where any will
    version: str | None  # the installed one; None where there is none

    @property
    def usable(self) -> bool:
        """Whether it is installed, and not too old."""
        return self.version is not None and _numbers(self.version) >= _numbers(self.minimum)


@dataclass(frozen=True)
class Extra:
    """An optional part of edgecnn, and the packages that it needs."""

    name: str
    purpose: str
    packages: tuple[Package, ...]

    @property
    def missing(self) -> tuple[Package, ...]:
        """The packages that are not installed, or too old."""
        return tuple(package for package in self.packages if not package.usable)

    @property
    def install_line(self) -> str | None:
        """What to type to get it; None where it is all there."""
        return f"pip install 'edgecnn[{self.name}]'" if self.missing else None


@dataclass(frozen=True)
class Place:
    """A file or folder that edgecnn uses."""

    what: str
    path: Path
    exists: bool


@dataclass(frozen=True)
class Board:
    """A board of the user's `targets.toml`, and whether it answered."""

    device: str
    target: str
    machine: str | None  # as `uname -m` says; None where it did not answer
    problem: str | None  # why not


@dataclass(frozen=True)
class Installation:
    """What `edgecnn doctor` finds.

    Example:
        >>> installation = edgecnn.check_installation(boards=False)
        >>> "torch" in [extra.name for extra in installation.extras]
        True
    """

    __repr__ = short_repr

    version: str
    python: str
    system: str
    extras: tuple[Extra, ...]
    places: tuple[Place, ...]
    boards: tuple[Board, ...]
    emulator: str  # what is missing for the emulated board, or that it is ready

    def to_json(self) -> dict[str, Any]:
        """Return the document of `edgecnn doctor --json`."""
        return {
            "version": self.version,
            "python": self.python,
            "system": self.system,
            "extras": [
                {
                    "name": extra.name,
                    "purpose": extra.purpose,
                    "packages": [asdict(package) | {"usable": package.usable} for package in extra.packages],
                    "install": extra.install_line,
                }
                for extra in self.extras
            ],
            "places": [asdict(place) | {"path": str(place.path)} for place in self.places],
            "boards": [asdict(board) for board in self.boards],
            "emulated_board": self.emulator,
        }


def check_installation(*, boards: bool = True) -> Installation:
    """Look at this machine's installation of edgecnn.

    Args:
        boards: whether to connect to the boards of `targets.toml`, all at once, to see which answer.

    Raises:
        EdgecnnError: `targets.toml` is broken.

    Example:
        >>> check_installation(boards=False).extras[0].name
        'torch'
    """
    return Installation(
        __version__,
        f"{platform.python_version()} ({sys.executable})",
        platform.platform(),
        tuple(_extras()),
        tuple(_places()),
        _boards(tied_targets()) if boards else (),
        _emulator(),
    )


def _extras() -> Iterator[Extra]:
    try:
        requirements = metadata.requires("edgecnn") or []
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        requirements = []
    for name, purpose in PURPOSES.items():
        packages = []
        for requirement in requirements:
            parts = re.fullmatch(r"([\w.-]+)[^;]*?(?:>=([\w.]+))?[^;]*; *extra *== *['\"](\w+)['\"]", requirement)
            if parts is not None and parts[3] == name and parts[1] != "edgecnn":
                packages.append(Package(parts[1], parts[2] or "", _version(parts[1])))
        yield Extra(name, purpose, tuple(packages))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 14, 1) of `2.14.1+cpu`."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _places() -> Iterator[Place]:
    data, image = os.environ.get("EDGECNN_DATA"), find_image()
    paths = {
        "data sets ($EDGECNN_DATA)": Path(data) if data else None,
        "devices of your own": user_folder("devices"),
        "recipes of your own": user_folder("export"),
        "suites of your own": user_folder("benchmarks/suites"),
        "boards (targets.toml)": user_folder("targets.toml"),
        "history": history_file(),
        "emulated board": image.folder if image else None,
        "adb, for phones": _program("adb"),
    }
    for what, path in paths.items():
        yield Place(what, path or Path("-"), path is not None and os.path.exists(path))


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    return None if found is None else Path(found)


def _boards(tied: Mapping[str, str]) -> tuple[Board, ...]:
    def ask(device: str, target: str) -> Board:
        try:
            with open_target(target) as place:
                return Board(device, target, place.machine, None)
        except EdgecnnError as error:
            return Board(device, target, None, str(error))

    if not tied:
        return ()
    with ThreadPoolExecutor(max_workers=8) as pool:
        return tuple(pool.map(ask, tied.keys(), tied.values()))


def _emulator() -> str:
    try:
        check_programs()
    except EdgecnnError as error:
        return str(error)
    return "built" if find_image() is not None else "not built yet; edgecnn bench --target emulated builds it"
