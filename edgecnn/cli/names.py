"""What the shell may complete: names of devices, targets, data, networks, recipes, suites, runtimes, and files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from click import Context, Parameter
from click.shell_completion import CompletionItem

from edgecnn.errors import EdgecnnError


def complete_device(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the device names that begin with *incomplete*, and the variants once a device is written out."""
    from edgecnn.device import device_names, load_device

    stem, colon, _ = incomplete.partition(":")
    names = device_names()
    if colon and stem in names:
        try:
            names = [f"{stem}:{variant}" for variant in load_device(stem).variants]
        except EdgecnnError:
            return []  # a broken file is an error when it is used, not while a line is typed
    return _begun(names, incomplete)


def complete_data(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the data sets that begin with *incomplete*; behind `folder:`, `npz:` and others the folders and files."""
    from edgecnn.datasets import ARGUMENTS, DATASETS

    kind, colon, path = incomplete.partition(":")
    if colon and kind == "scenes":
        return _begun(("scenes:detection", "scenes:segmentation"), incomplete)
    if colon and kind in ARGUMENTS:
        return [f"{kind}:{found}" for found in _paths(path, f".{kind}" if ARGUMENTS[kind] == "FILE" else None)]
    return _begun((f"{name}:" if name in ARGUMENTS else name for name in DATASETS.names()), incomplete)


def complete_model(ctx: Context, param: Parameter, incomplete: str) -> list[Any]:
    """Return the networks of ours that begin with *incomplete*; where there is none, files."""
    from edgecnn.nets import NETS

    # The names of torchvision's networks would take seconds: it has to be imported for them.
    names = [*(f"edgecnn:{name}" for name in NETS.names()), "torchvision:"]
    if incomplete.startswith("torchvision:"):
        return []
    return _begun(names, incomplete) or [CompletionItem(incomplete, type="file")]


def complete_recipe(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the recipes that begin with *incomplete*, and TOML files."""
    from edgecnn.recipe import recipe_names

    return _begun(recipe_names(), incomplete) + _paths(incomplete, ".toml")


def complete_runtimes(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the runtimes that the last name of a list begins."""
    from edgecnn.runtimes import RUNTIMES

    before, comma, _ = incomplete.rpartition(",")
    return _begun((f"{before}{comma}{name}" for name in RUNTIMES.names()), incomplete)


def complete_study(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the studies that begin with *incomplete*, and TOML files."""
    from edgecnn.study.definition import study_names

    return _begun(study_names(), incomplete) + _paths(incomplete, ".toml")


def complete_suite(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the suites that begin with *incomplete*, and TOML files."""
    from edgecnn.benchmarks.suite import suite_names

    return _begun(suite_names(), incomplete) + _paths(incomplete, ".toml")


def complete_target(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the kinds of targets that begin with *incomplete*; behind `emulated:` the devices."""
    from edgecnn.targets import TARGETS

    kind, colon, device = incomplete.partition(":")
    if colon and kind == "emulated":
        return [f"{kind}:{name}" for name in complete_device(ctx, param, device)]
    forms = {"adb": "adb:", "ssh": "ssh://"}
    return _begun((forms.get(name, name) for name in TARGETS.names()), incomplete)


def complete_criterion(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the pruning criteria that begin with *incomplete*."""
    from edgecnn.compress import CRITERIA

    return _begun(CRITERIA.names(), incomplete)


def complete_order(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the orders of cuts that begin with *incomplete*."""
    from edgecnn.compress import ORDERS

    return _begun(ORDERS.names(), incomplete)


def complete_substitute(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the blocks, after those that *incomplete* has already, that its last name begins."""
    from edgecnn.checkpoint import SUBSTITUTES

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _begun(SUBSTITUTES.names(), last)]


def complete_normalization(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the named normalizations that begin with *incomplete*."""
    return _begun(("imagenet", "mean=", "pixels", "unit"), incomplete)


def complete_task(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the tasks that begin with *incomplete*."""
    from edgecnn.tasks import TASKS

    return _begun(TASKS.names(), incomplete)


def complete_decoder(ctx: Context, param: Parameter, incomplete: str) -> list[str]:
    """Return the decoders that begin with *incomplete*, and their JSON files."""
    from edgecnn.tasks.decoders import DECODERS

    return _begun(DECODERS.names(), incomplete) + _paths(incomplete, ".json")


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, suffix: str | None) -> list[str]:
    """Return the folders, and the files with *suffix*, whose path begins with *incomplete*; folders end in `/`."""
    folder, slash, begun = incomplete.rpartition("/")
    try:
        entries = sorted(Path(folder + slash or ".").iterdir())
    except OSError:
        return []
    return [
        f"{folder}{slash}{entry.name}{'/' * entry.is_dir()}"
        for entry in entries
        if entry.name.startswith(begun)
        and (begun or not entry.name.startswith("."))
        and (entry.is_dir() or entry.suffix == suffix)
    ]
