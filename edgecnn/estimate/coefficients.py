"""The `[[latency]]` tables of a device's TOML file: written by calibration, read by `load_device`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgecnn.device import LatencyModel
from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole

_HEADER = re.compile(r"\s*\[\[?([A-Za-z0-9_.\"-]+)\]?\]")


def to_toml(models: Sequence[LatencyModel]) -> str:
    """Return *models* as `[[latency]]` tables."""
    return "\n".join(_table(model) for model in models)


def _table(model: LatencyModel) -> str:
    facts = {key: value for key, value in asdict(model).items() if key != "costs" and value not in (None, ())}
    # JSON writes text, numbers and escapes as TOML does.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    costs = []
    for kind, cost in model.costs.items():
        terms = ", ".join(f"{term} = {value!r}" for term, value in asdict(cost).items())
        costs.append(f"{kind} = {{ {terms} }}")
    return "\n".join(("[[latency]]", *lines, "[latency.costs]", *costs, ""))


def without_latency(text: str) -> str:
    """Return a device's TOML *text* without its `[[latency]]` tables."""
    kept, own = [], False
    for line in text.splitlines(keepends=True):
        header = _HEADER.match(line)
        if header:
            own = header[1] == "latency" or header[1].startswith("latency.")
        if not own:
            kept.append(line)
    return "".join(kept).rstrip("\n") + "\n"


def merge_models(old: Sequence[LatencyModel], new: Sequence[LatencyModel]) -> list[LatencyModel]:
    """Return *old* and *new*, a new one in the place of the old of the same runtime, precision, threads and cores."""
    table = {(model.runtime, model.precision, model.threads, model.cores or ""): model for model in (*old, *new)}
    return [table[key] for key in sorted(table)]


def write_coefficients(source: Path, path: Path, models: Sequence[LatencyModel]) -> None:
    """Write the device file *source* to *path*, whole or not at all, with *models* as its latency tables.

    Raises:
        EdgecnnError: *source* is not there.
    """
    if not source.is_file():
        raise EdgecnnError(f"no device file at '{source}'")
    text = without_latency(source.read_text(encoding="utf-8"))
    write_whole(path, f"{text}\n{to_toml(models)}" if models else text)
