"""`DeviceProfile`: what a device is and can bear. A fact that is not known is absent, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.files import write_whole
from edgecnn.host import HostFacts, read_host
from edgecnn.parsing import BYTES, MalformedError, read_toml
from edgecnn.shipped import find_shipped, shipped, shipped_files, user_folder
from edgecnn.short_repr import short_repr
from edgecnn.units import format_bytes, parse_bytes

KINDS = ("linux", "android", "mcu", "macos", "windows")

#: The device at hand, probed when it is asked for.
HOST = "host"


@dataclass(frozen=True)
class Core:
    """Some equal cores of a device."""

    name: str
    count: int
    clock_mhz: float | None = None
    kind: str | None = None  # file of `cores/` that it is like ("cortex-a76"); None: the one of its name

    def __str__(self) -> str:
        """`4 x Cortex-A72 at 1500 MHz`."""
        clock = "" if self.clock_mhz is None else f" at {self.clock_mhz:g} MHz"
        return f"{self.count} x {self.name}{clock}"


@dataclass(frozen=True)
class MemoryRegion:
    """A memory a model must fit: `ram`, or `flash` on a microcontroller."""

    name: str
    size_bytes: int = field(metadata={**BYTES, "key": "size"})
    #: What the system (kernel and services; firmware and stack) already takes of it; None: unknown.
    system_bytes: int | None = field(default=None, metadata={**BYTES, "key": "system"})

    @property
    def limit_bytes(self) -> int:
        """What is left once the system has taken its part; an unknown part counts as none."""
        return self.size_bytes - (self.system_bytes or 0)


@dataclass(frozen=True)
class RuntimeCost:
    """What a runtime adds before any model is loaded, by memory."""

    ram_bytes: int | None = field(default=None, metadata={**BYTES, "key": "ram"})
    flash_bytes: int | None = field(default=None, metadata={**BYTES, "key": "flash"})


#: Kinds of operators whose efficiency differs by an order of magnitude, each with the coarser kind whose cost stands
#: for it where a fit does not tell them apart: published figures are too few to.
COARSER_KINDS = {
    "conv": "conv",
    "grouped": "conv",
    "pointwise": "pointwise",
    "depthwise": "depthwise",
    "linear": "linear",
    "max_pooling": "other",
    "average_pooling": "other",
    "mean": "other",
    "elementwise": "other",
    "broadcast": "other",
    "sigmoid": "other",
    "hard_swish": "other",
    "padding": "other",
    "concatenation": "other",
    "copy": "other",
    "other": "other",
}
LATENCY_KINDS = tuple(COARSER_KINDS)


@dataclass(frozen=True)
class OperatorCost:
    """What operators of one kind cost: the sum of these times their multiply-adds, bytes moved and number."""

    ns_per_mac: float = 0.0  # channels rounded up to what kernels compute at once
    ns_per_byte: float = 0.0  # of activations and weights
    ns_per_operator: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Coefficients of the latency with one runtime, precision and number of threads, and how far to trust them."""

    runtime: str
    precision: str  # of the operators: "fp32", "w8a8" (integers throughout), "w8" (integer weights alone)
    threads: int
    costs: Mapping[str, OperatorCost]  # some of LATENCY_KINDS, the coarser ones at least → cost
    low: float  # the band: truth / estimate lies between low and high ...
    high: float
    coverage: float  # ... for this share of networks that the fit never saw
    networks: int  # that the coefficients were fitted to
    source: str
    input_block: int = 1  # channels that its kernels compute at once
    output_block: int = 8
    winograd: float = 1.0  # share of the multiply-adds that its kernels take of a 3x3 convolution with stride 1
    cores: str | None = None  # the only cores that the threads ran on; None: all, or those that the system chose
    features: tuple[str, ...] = ()  # instruction sets that its kernels use: only a device with all of them has them


@dataclass(frozen=True)
class Variant:
    """What differs in one variant of a device: the size of its RAM, say."""

    title: str
    memory: Mapping[str, int] = field(default_factory=dict, metadata=BYTES)  # region → size
    system: Mapping[str, int] = field(default_factory=dict, metadata=BYTES)  # region → what the system takes
    sources: Mapping[str, str] = field(default_factory=dict)  # of the facts that differ


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """One device. The fields are the keys of its TOML file; `name` is the file's name.

    Example:
        >>> profile = edgecnn.load_device("stm32h7a3")
        >>> profile.kind, profile.arch
        ('mcu', 'cortex-m7')
    """

    __repr__ = short_repr

    name: str
    title: str
    kind: str  # one of KINDS
    arch: str  # as `uname -m` says, or "cortex-m7"
    sources: Mapping[str, str]  # fact ("memory.ram", "cores", ...) → where it comes from
    soc: str | None = None
    cores: tuple[Core, ...] = ()
    features: tuple[str, ...] = ()  # instruction sets that matter to kernels: dotprod, i8mm, avx512_vnni, helium...
    memory: tuple[MemoryRegion, ...] = ()
    runtimes: Mapping[str, RuntimeCost] = field(default_factory=dict)
    unsupported_operators: tuple[str, ...] = ()  # beyond what the runtime itself lacks
    thermal: str | None = None
    governor: str | None = None
    idle_w: float | None = None
    load_w: float | None = None
    memcpy_mb_s: float | None = None
    latency: tuple[LatencyModel, ...] = ()  # each bears its own source
    default_variant: str | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)
    variant: str | None = None

    def region(self, name: str) -> MemoryRegion | None:
        """Return the memory region *name*, or None where the profile has none."""
        return next((region for region in self.memory if region.name == name), None)

    @property
    def target_form(self) -> str:
        """How a target that is such a device is written: `adb:SERIAL` for a phone, else `ssh://USER@BOARD`."""
        return "adb:SERIAL" if self.kind == "android" else "ssh://USER@BOARD"

    @property
    def channels_at_once(self) -> int:
        """How many channels its int8 kernels compute at once, 1 where that is not known: others cost as many."""
        return max((model.output_block for model in self.latency if model.precision == "w8a8"), default=1)

    def facts(self) -> dict[str, str]:
        """Return every fact that the profile states, `{name: value as text}`; each has its entry in `sources`."""
        return dict(self._facts())

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "arch", self.arch
        if self.soc:
            yield "soc", self.soc
        if self.cores:
            yield "cores", ", ".join(map(str, self.cores))
        if self.features:
            yield "features", ", ".join(self.features)
        for region in self.memory:
            yield f"memory.{region.name}", format_bytes(region.size_bytes)
            if region.system_bytes is not None:
                yield f"memory.{region.name}.system", f"{format_bytes(region.system_bytes)} taken by the system"
        for runtime, cost in self.runtimes.items():
            for name, size in (("ram", cost.ram_bytes), ("flash", cost.flash_bytes)):
                if size is not None:
                    yield f"runtimes.{runtime}.{name}", f"{format_bytes(size)} before any model"
        if self.unsupported_operators:
            yield "unsupported_operators", ", ".join(self.unsupported_operators)
        if self.thermal:
            yield "thermal", self.thermal
        if self.governor:
            yield "governor", self.governor
        for name, watts in (("idle_w", self.idle_w), ("load_w", self.load_w)):
            if watts is not None:
                yield name, f"{watts:g} W"
        if self.memcpy_mb_s is not None:
            yield "memcpy_mb_s", f"{self.memcpy_mb_s:g} MB/s"

    def to_json(self) -> dict[str, Any]:
        """Return the profile for `--json`: sizes in bytes, null for what is not known."""
        return {
            **{key: getattr(self, key) for key in ("name", "title", "kind", "arch", "soc", "variant")},
            "variants": sorted(self.variants),
            "cores": [asdict(core) for core in self.cores],
            "features": list(self.features),
            "memory": [
                {
                    "name": r.name,
                    "size_bytes": r.size_bytes,
                    "system_bytes": r.system_bytes,
                    "limit_bytes": r.limit_bytes,
                }
                for r in self.memory
            ],
            "runtimes": {
                name: {"ram_bytes": cost.ram_bytes, "flash_bytes": cost.flash_bytes}
                for name, cost in self.runtimes.items()
            },
            "unsupported_operators": list(self.unsupported_operators),
            **{key: getattr(self, key) for key in ("thermal", "governor", "idle_w", "load_w", "memcpy_mb_s")},
            "latency": [asdict(model) for model in self.latency],
            "sources": dict(self.sources),
        }


def load_device(name: str | Path) -> DeviceProfile:
    """Return the profile of a device.

    Args:
        name: a device (`rpi4`), a variant (`rpi4:4gb`), a TOML file, or `host` (this machine, probed now).

    Raises:
        EdgecnnError: unknown device or variant, or a broken file.

    Example:
        >>> edgecnn.load_device("rpi4:4gb").region("ram").size_bytes
        4294967296
    """
    name = str(name)
    if name == HOST:
        return profile_of(read_host(), HOST)
    if name.startswith(f"{HOST}:"):
        raise EdgecnnError(f"device '{name}': {HOST} is this machine, it has no variants")
    path, variant = _split(name)
    profile = read_toml(path, DeviceProfile, name=path.stem, variant=None)
    _check(profile, path)
    chosen = profile.default_variant if variant is None else variant
    if chosen is None:
        return profile
    if chosen not in profile.variants:
        raise unknown_name(f"variant of {profile.name}", chosen, profile.variants)
    return _apply(profile, chosen)


def device_names() -> list[str]:
    """Return the names of all known devices, sorted, `host` among them.

    Example:
        >>> [name for name in edgecnn.device_names() if name.startswith("rpi")]
        ['rpi3bplus', 'rpi4', 'rpi5', 'rpizero2w']
    """
    return sorted({*shipped_files("devices"), HOST})


def device_file(name: str) -> Path:
    """Return the TOML file that `load_device` reads for *name*.

    Raises:
        EdgecnnError: there is none.
    """
    return _split(name)[0]


def _called(text: str) -> list[str]:
    """Return the devices whose titles begin with *text*, `raspberrypi4` or `Raspberry Pi 4`: "rpi4"."""
    begun = _bare(text)
    return [name for name in shipped_files("devices") if begun and _bare(load_device(name).title).startswith(begun)]


def _bare(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _is_size(text: str) -> bool:
    try:
        return parse_bytes(text) > 0
    except EdgecnnError:
        return False


def _split(name: str) -> tuple[Path, str | None]:
    """Return the file and the variant of `rpi4:4gb`."""
    stem, colon, variant = name.partition(":")
    if stem != HOST and not stem.endswith(".toml") and "/" not in stem and stem not in device_names():
        titled = _called(stem)
        if titled:
            raise EdgecnnError(f"unknown device '{stem}'; did you mean {' or '.join(titled)}?")
        if _is_size(stem):
            raise EdgecnnError(f"'{stem}' is a size, not a device; for a memory of that size give --ram {stem}")
        hint = "(edgecnn devices lists them; the path of a .toml file is a device too)"
        raise unknown_name("device", stem, device_names(), hint=hint)
    return find_shipped("devices", stem, "device"), variant if colon else None


def _check(profile: DeviceProfile, path: Path) -> None:
    """Refuse what has the right types and makes no sense.

    Raises:
        EdgecnnError: all of it, in one line.
    """
    problems = [str(problem) for problem in _problems(profile, path)]
    if problems:
        raise MalformedError(problems)


def _problems(profile: DeviceProfile, path: Path) -> Iterator[EdgecnnError]:
    if profile.kind not in KINDS:
        yield unknown_name(f"kind in {path}:", profile.kind, KINDS)
    if profile.default_variant is not None and profile.default_variant not in profile.variants:
        yield unknown_name(f"default_variant in {path}:", profile.default_variant, profile.variants)
    regions = {region.name for region in profile.memory}
    for name, variant in profile.variants.items():
        for unknown in sorted({*variant.memory, *variant.system} - regions):
            yield unknown_name(f"memory in {path}: variants.{name}:", unknown, regions)
    for core in profile.cores:
        if core.count < 1 or (core.clock_mhz is not None and core.clock_mhz <= 0):
            yield EdgecnnError(f"{path}: cores: {core} is not a core")
    for region in profile.memory:
        if region.limit_bytes <= 0:
            yield EdgecnnError(f"{path}: memory {region.name}: nothing is left of {format_bytes(region.size_bytes)}")


def _apply(profile: DeviceProfile, chosen: str) -> DeviceProfile:
    variant = profile.variants[chosen]
    memory = tuple(
        replace(
            region,
            size_bytes=variant.memory.get(region.name, region.size_bytes),
            system_bytes=variant.system.get(region.name, region.system_bytes),
        )
        for region in profile.memory
    )
    return replace(profile, memory=memory, variant=chosen, sources={**profile.sources, **variant.sources})


def profile_of(host: HostFacts, name: str) -> DeviceProfile:
    """Return the profile of a machine from what its system reports.

    What the runtimes take is that of the catalogue's device with cores alike, on which it was taken.
    """
    alike = group_equal(host)
    known = None if alike is None else load_device(alike)
    borrowed = {key: text for key, text in known.sources.items() if key.startswith("runtimes.")} if known else {}
    memory = () if host.ram_bytes is None else (MemoryRegion("ram", host.ram_bytes, host.ram_used_bytes),)
    return DeviceProfile(
        name=name,
        title=host.title,
        kind=host.system if host.system in KINDS else "linux",
        arch=host.arch,
        sources={**host.sources, **{key: f"as {alike}: {text}" for key, text in borrowed.items()}},
        soc=host.cpu,
        cores=tuple(Core(*core) for core in host.cores),
        features=host.features,
        memory=memory,
        runtimes=known.runtimes if known else {},
        governor=host.governor,
    )


def group_equal(host: HostFacts) -> str | None:
    """Return the device of the catalogue on whose kind of cores the runtimes' memory was taken; None: on none such.

    Before Armv8.1 LiteRT runs by another interface, which takes less; half precision came with Armv8.2.
    """
    if host.arch == "aarch64":
        return "rpi5" if {"fp16", "dotprod"} & set(host.features) else "rpi4"
    return "x86-avx2" if host.arch == "x86_64" else None


def add_device(path: Path | str) -> Path:
    """Check a device profile, copy it into the user's folder, and return its new path.

    The device gets the file's name: `my-pi.toml` is the device `my-pi`. A file of that name in the user's folder is
    replaced.

    Args:
        path: a TOML file, see `devices/README.md`.

    Raises:
        EdgecnnError: no such file, a broken one, or a name that a shipped device or `host` has.

    Example:
        >>> edgecnn.add_device("my-pi.toml").name
        'my-pi.toml'
        >>> edgecnn.load_device("my-pi").arch
        'aarch64'
    """
    path = Path(path)
    if path.suffix != ".toml" or not path.is_file():
        raise EdgecnnError(f"no device file at '{path}'; edgecnn devices probe writes one: NAME.toml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem):
        raise EdgecnnError(f"'{path.stem}' is not a device name; use letters, digits, '.', '_' and '-'")
    if path.stem == HOST or (shipped("devices") / path.name).is_file():
        raise EdgecnnError(f"'{path.stem}' is a device of the catalogue; give {path} another name")
    load_device(str(path))
    added = user_folder("devices") / path.name
    write_whole(added, path.read_bytes())
    return added
