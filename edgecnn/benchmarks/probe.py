"""A device profile from the board itself, with the place where each fact was read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from edgecnn.device import DeviceProfile, profile_of
from edgecnn.errors import STEERING, EdgecnnError
from edgecnn.host import FILES, HostFacts, read_host
from edgecnn.locks import PrivateFolder
from edgecnn.targets import open_target
from edgecnn.targets.remote import Remote

_DEEPEST = 1 + max(name.count("/") for name in FILES)  # `*` of a pattern may stand for `/`

#: A line above each file's content; the content itself is followed by a line break of ours.
_MARK = "edgecnn file "
_SEND = f'for file in {" ".join(FILES)}; do if test -r "$file"; then echo "{_MARK}$file"; cat "$file"; echo; fi; done'


def probe_device(target: str) -> DeviceProfile:
    """Read a device profile from a board; each fact has its source.

    Args:
        target: `local`, `ssh://user@host` or `adb:SERIAL`.

    Raises:
        EdgecnnError: an unknown target, no way in, or a machine that is no Linux.

    Example:
        >>> edgecnn.probe_device("local").kind
        'linux'
    """
    with open_target(target) as place:
        host = _read_remote(place) if isinstance(place, Remote) else read_host()
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    sources = {fact: f"{source}, read from {target} on {when}" for fact, source in host.sources.items()}
    profile = profile_of(replace(host, title=host.cpu or target), "probed")
    kind = "android" if target.startswith("adb:") else profile.kind
    return replace(profile, kind=kind, sources={**profile.sources, **sources})


def _read_remote(place: Remote) -> HostFacts:
    if place.system != "Linux" or place.machine is None:
        raise EdgecnnError(f"{place.name} runs {place.system}; only Linux boards can be probed")
    with PrivateFolder() as folder:
        root = Path(folder)
        for name, content in _split(place.ask(_SEND)):
            if any(fnmatchcase(name, pattern) for pattern in FILES) and name.count("/") < _DEEPEST and ".." not in name:
                path = root / name.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        return read_host(root, place.machine)


def _split(sent: str) -> Iterator[tuple[str, str]]:
    """Yield the name and content of each file that *sent* holds."""
    for part in sent.split("\n" + _MARK) if sent.startswith(_MARK) else ():
        name, _, content = part.removeprefix(_MARK).partition("\n")
        yield name, content


def profile_toml(profile: DeviceProfile) -> str:
    """Return *profile* as the TOML file that `load_device` reads; what is not known is left out."""
    plain = {key: getattr(profile, key) for key in ("title", "kind", "arch", "soc", "governor")}
    lines = [f"{key} = {_text(value)}" for key, value in plain.items() if value is not None]
    if profile.features:
        lines.append(f"features = [{', '.join(map(_text, profile.features))}]")
    for core in profile.cores:
        clock = {} if core.clock_mhz is None else {"clock_mhz": f"{core.clock_mhz:g}"}
        lines += _table("[[cores]]", {"name": _text(core.name), "count": str(core.count), **clock})
    for region in profile.memory:
        system = {} if region.system_bytes is None else {"system": str(region.system_bytes)}
        lines += _table("[[memory]]", {"name": _text(region.name), "size": str(region.size_bytes), **system})
    for runtime, cost in profile.runtimes.items():
        sizes = {"ram": cost.ram_bytes, "flash": cost.flash_bytes}
        lines += _table(
            f"[runtimes.{_text(runtime)}]", {key: str(size) for key, size in sizes.items() if size is not None}
        )
    return "\n".join((*lines, *_table("[sources]", {_text(k): _text(v) for k, v in profile.sources.items()}), ""))


def _table(header: str, values: Mapping[str, str]) -> list[str]:
    return ["", header, *(f"{key} = {value}" for key, value in values.items())]


def _text(value: str) -> str:
    """Return *value* as a TOML string, whose escapes are those of JSON; what steers a terminal is escaped too."""
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


__all__ = ["probe_device", "profile_toml"]
