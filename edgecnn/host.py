"""What the machine at hand is, read from `/proc` and `/sys`, and where each fact was read."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: CPU flag as Linux prints it → the name a profile uses; only what kernels choose by.
FEATURES = {
    "asimd": "neon",
    "neon": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}

#: Arm's part numbers (MIDR_EL1, "CPU part" in /proc/cpuinfo) of cores that boards and phones have.
ARM_PARTS = {
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
}


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """This machine; None or empty where it does not say."""

    title: str
    system: str  # "linux", "macos", "windows"
    arch: str
    cpu: str | None = None
    cores: tuple[tuple[str, int, float | None], ...] = ()  # (name, how many, clock in MHz)
    features: tuple[str, ...] = ()
    ram_bytes: int | None = None
    ram_used_bytes: int | None = None
    governor: str | None = None
    sources: dict[str, str] = field(default_factory=dict)


#: What `read_host` reads, as patterns of the shell: what has to be brought here of another machine.
FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.current",
    "/sys/fs/cgroup/memory.stat",
)


def read_host(root: Path = Path("/"), arch: str | None = None) -> HostFacts:
    """Return the facts of the machine whose file system begins at *root*; *arch* is its own, where it is another one.

    Another machine is a Linux.
    """
    system = "linux" if arch else {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    machine = arch or platform.machine()
    if arch is None and not (root / "proc/cpuinfo").is_file():
        return _portable_facts(system)
    processors, common = _cpuinfo(_text(root / "proc/cpuinfo"))
    sources = {"arch": "uname -m"}
    board = _text(root / "proc/device-tree/model").strip("\0 \n") or common.get("Model") or common.get("Hardware")
    cpu = board or (processors[0].get("model name") if processors else None)
    if cpu:
        sources["soc"] = "/proc/device-tree/model" if _text(root / "proc/device-tree/model") else "/proc/cpuinfo"
    cores = _cores(root, processors, machine)
    if cores:
        has_cpufreq = (root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").is_file()
        clock = "maximum clock from /sys/devices/system/cpu" if has_cpufreq else "clock as /proc/cpuinfo gives it now"
        known = any(mhz is not None for _, _, mhz in cores)
        sources["cores"] = f"/proc/cpuinfo; {clock}" if known else "/proc/cpuinfo"
    features = _features(processors)
    if features:
        sources["features"] = "/proc/cpuinfo"
    ram_bytes, ram_used_bytes, where = _memory(root)
    if ram_bytes is not None:
        sources |= {"memory.ram": where, "memory.ram.system": f"{where}: in use now, what can be reclaimed not counted"}
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None
    if governor:
        sources["governor"] = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return HostFacts(
        title="This machine",
        system=system,
        arch=machine,
        cpu=cpu,
        cores=cores,
        features=features,
        ram_bytes=ram_bytes,
        ram_used_bytes=ram_used_bytes,
        governor=governor,
        sources=sources,
    )


def _portable_facts(system: str) -> HostFacts:
    """Return what Python itself can tell where there is no `/proc`."""
    cpu = platform.processor() or None
    sources = {"arch": "platform.machine()"} | ({"soc": "platform.processor()"} if cpu else {})
    count = os.cpu_count()
    if count:
        sources["cores"] = "os.cpu_count()"
    try:
        ram_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        sources["memory.ram"] = "sysconf(SC_PHYS_PAGES)"
    except (AttributeError, ValueError, OSError):
        ram_bytes = None
    return HostFacts(
        title="This machine",
        system=system,
        arch=platform.machine(),
        cpu=cpu,
        cores=((cpu or platform.machine(), count, None),) if count else (),
        ram_bytes=ram_bytes,
        sources=sources,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpuinfo(text: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Return the `key: value` lines of each processor, and those that stand apart (`Model`, `Hardware`)."""
    processors: list[dict[str, str]] = []
    common: dict[str, str] = {}
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
        values = {key.strip(): value.strip() for key, _, value in pairs}
        (processors.append if "processor" in values else common.update)(values)
    return processors, common


def _cores(root: Path, processors: list[dict[str, str]], machine: str) -> tuple[tuple[str, int, float | None], ...]:
    """Return equal cores together, fastest first."""
    kinds: Counter[tuple[str, float | None]] = Counter()
    for values in processors:
        name = ARM_PARTS.get(values.get("CPU part", "")) or values.get("model name") or machine
        limit = _text(root / f"sys/devices/system/cpu/cpu{values['processor']}/cpufreq/cpuinfo_max_freq").strip()
        khz = _whole(limit)
        clock = _current_mhz(values) if khz is None else round(khz / 1000, 1)
        kinds[name, clock] += 1
    ordered = sorted(kinds.items(), key=lambda item: -(item[0][1] or 0))
    return tuple((name, count, clock) for (name, clock), count in ordered)


def _current_mhz(values: dict[str, str]) -> float | None:
    text = values.get("cpu MHz", "")
    return round(float(text)) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else None


def _whole(text: str) -> int | None:
    """Return the whole number that *text* is, else None: another machine may send anything."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _features(processors: list[dict[str, str]]) -> tuple[str, ...]:
    """Return the features that every processor has: on big.LITTLE a kernel may run on any."""
    flags = [set((values.get("flags") or values.get("Features") or "").split()) for values in processors]
    shared = set.intersection(*flags) if flags else set()
    return tuple(dict.fromkeys(name for flag, name in FEATURES.items() if flag in shared))


def _memory(root: Path) -> tuple[int | None, int | None, str]:
    """Return RAM and what is in use of it, in bytes; a cgroup's limit counts where it is lower."""
    sizes = {
        key: kib * 1024
        for key, _, value in (line.partition(":") for line in _text(root / "proc/meminfo").splitlines())
        if (kib := _whole(value.strip().removesuffix(" kB"))) is not None
    }
    total = sizes.get("MemTotal")
    if total is None:
        return None, None, ""
    limit = _whole(_text(root / "sys/fs/cgroup/memory.max").strip())
    used = _whole(_text(root / "sys/fs/cgroup/memory.current").strip())
    if limit is not None and used is not None and limit < total:
        lines = _text(root / "sys/fs/cgroup/memory.stat").splitlines()
        stat = {key: _whole(value) for key, _, value in (line.partition(" ") for line in lines)}
        return limit, max(0, used - (stat.get("inactive_file") or 0)), "/sys/fs/cgroup/memory.max"
    return total, total - sizes.get("MemAvailable", total), "/proc/meminfo"
