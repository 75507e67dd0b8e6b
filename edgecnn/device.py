"""`DeviceProfile`: what a device is and can bear. A fact that is not known is absent, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.shipped import BYTES, find_shipped, read_toml, shipped_files


@dataclass(frozen=True)
class Core:
    """Some equal cores of a device."""

    name: str
    count: int
    clock_mhz: float | None = None


@dataclass(frozen=True)
class MemoryRegion:
    """A memory a model must fit: `ram`, or `flash` on a microcontroller."""

    name: str
    size: int = field(metadata=BYTES)
    #: What the system (kernel and services; firmware and stack) already takes of it.
    system: int | None = field(default=None, metadata=BYTES)

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return self.size

    @property
    def limit_bytes(self) -> int:
        """What is left once the system has taken its part; an unknown part counts as none."""
        return self.size - (self.system or 0)


@dataclass(frozen=True)
class RuntimeCost:
    """What a runtime adds before any model is loaded, by memory."""

    ram: int | None = field(default=None, metadata=BYTES)
    flash: int | None = field(default=None, metadata=BYTES)


@dataclass(frozen=True)
class Variant:
    """What differs in one variant of a device: the size of its RAM, say."""

    title: str
    memory: Mapping[str, str]  # region → size, as text: { ram = "8GiB" }


@dataclass(frozen=True)
class DeviceProfile:
    """One device; the fields are the keys of its TOML file, `name` is the file's."""

    name: str
    title: str
    kind: str  # "linux", "android" or "mcu"
    arch: str  # as `uname -m` says, or "cortex-m7"
    sources: Mapping[str, str]  # fact ("memory.ram", "cores", ...) → where it comes from
    soc: str | None = None
    cores: tuple[Core, ...] = ()
    features: tuple[str, ...] = ()  # instruction sets that matter to kernels: dotprod, i8mm, avx512_vnni, helium...
    memory: tuple[MemoryRegion, ...] = ()
    runtimes: Mapping[str, RuntimeCost] = field(default_factory=dict)
    unsupported_operators: tuple[str, ...] = ()  # beyond what the runtime itself lacks
    thermal: str | None = None
    idle_w: float | None = None
    load_w: float | None = None
    memcpy_mb_s: float | None = None
    default_variant: str | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)
    variant: str | None = None

    def region(self, name: str) -> MemoryRegion | None:
        """Return the memory region *name*, or None where the profile has none."""
        return next((region for region in self.memory if region.name == name), None)


def load_device(name: str) -> DeviceProfile:
    """Return the profile `rpi4`, its variant `rpi4:4gb`, or the one in a TOML file.

    Raises:
        EdgecnnError: unknown device or variant, or a broken file.
    """
    stem, colon, variant = name.partition(":")
    path = find_shipped("devices", stem, "device")
    profile = read_toml(path, DeviceProfile, name=path.stem, variant=None)
    chosen = variant if colon else profile.default_variant
    if chosen is None:
        return profile
    if chosen not in profile.variants:
        raise unknown_name(f"variant of {stem}", chosen, profile.variants)
    return _apply(profile, chosen)


def device_names() -> list[str]:
    """Return the names of all known devices, sorted."""
    return sorted(shipped_files("devices"))


def _apply(profile: DeviceProfile, chosen: str) -> DeviceProfile:
    from edgecnn.units import parse_bytes

    sizes = profile.variants[chosen].memory
    unknown = set(sizes) - {region.name for region in profile.memory}
    if unknown:
        raise EdgecnnError(f"device {profile.name}: variant {chosen} names no memory of it: {', '.join(sorted(unknown))}")
    memory = tuple(
        replace(region, size=parse_bytes(sizes[region.name])) if region.name in sizes else region
        for region in profile.memory
    )
    return replace(profile, memory=memory, variant=chosen)


def device_file(name: str) -> Path:
    """Return the TOML file that `load_device` reads for *name*."""
    return find_shipped("devices", name.partition(":")[0], "device")
