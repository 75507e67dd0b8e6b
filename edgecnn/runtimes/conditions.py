"""Under which conditions a machine measures. What cannot be read is None, never a guess.

Goes to boards inside the worker: Python 3.9 or later, standard library alone.
"""

from __future__ import annotations

import glob
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any

_CPU = "/sys/devices/system/cpu"


def read_machine() -> dict[str, Any]:
    """Return what the machine is, as JSON values."""
    cores = _cores()
    return {
        "cpu": _cpu_model(),
        "cpu_flags": _cpu_flags(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "cores_allowed": len(cores),
        "cores_quota": _cgroup_quota(),
        "governors": sorted({governor for core in cores if (governor := _governor(core))}) or None,
    }


def read_state() -> dict[str, Any]:
    """Return how the machine fares now, as JSON values.

    `busy_ticks`, `steal_ticks`, `process_ns` and `monotonic_ns` only mean something as differences between two calls.
    """
    cores = _cores()
    return {
        "frequencies_mhz": [mhz for core in cores if (mhz := _frequency_mhz(core))] or None,
        "temperatures_c": _temperatures_c(),
        "throttled": _throttled(),
        "load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **_ticks(),
        "process_ns": time.process_time_ns(),
        "monotonic_ns": time.monotonic_ns(),
    }


def resident_bytes(field: str = "VmRSS") -> int | None:
    """Return the resident memory of this process: now (`VmRSS`), or the highest it ever was (`VmHWM`).

    The peak is not taken from `ru_maxrss` where `/proc` is there: a process started by fork or vfork keeps the maximum
    of the process that started it, so a worker of a big parent would report the parent's size.
    """
    for line in _read("/proc/self/status").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    if field != "VmHWM":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _cpu_model() -> str | None:
    fields = dict(line.split(":", 1) for line in _read("/proc/cpuinfo").splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    board = _read("/proc/device-tree/model").strip("\0")
    return named.get("model name") or board or named.get("Hardware") or platform.processor() or None


def _cpu_flags() -> list[str]:
    """Return the flags of the last processor, in the kernel's own words."""
    fields = dict(line.split(":", 1) for line in _read("/proc/cpuinfo").splitlines() if ":" in line)
    named = {key.strip(): value.split() for key, value in fields.items()}
    return named.get("flags") or named.get("Features") or []


def _governor(core: int) -> str:
    return _read(f"{_CPU}/cpu{core}/cpufreq/scaling_governor")


def _frequency_mhz(core: int) -> float | None:
    text = _read(f"{_CPU}/cpu{core}/cpufreq/scaling_cur_freq")
    return int(text) / 1000 if text.isdigit() else None


def _temperatures_c() -> dict[str, float] | None:
    found = {}
    for zone in sorted(glob.glob("/sys/class/thermal/thermal_zone*")):
        text = _read(zone + "/temp")
        if text.lstrip("-").isdigit():
            found[_read(zone + "/type") or os.path.basename(zone)] = int(text) / 1000
    return found or None


def _throttled() -> int | None:
    """Return the Raspberry Pi flags: bit 0 under-voltage, 1 capped, 2 throttled, 3 soft limit; 16-19: was so."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        # A list of arguments without a shell; the program is the system's own.
        answer = subprocess.run([program, "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
        return int(answer.stdout.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _cgroup_quota() -> float | None:
    """Return how many cores' time the control group may use (cgroup v2, then v1); None: no limit."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if not quota:
        quota, period = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _ticks() -> dict[str, int | None]:
    """Return the time all cores were busy, and the part a hypervisor took from this machine, in ticks since boot."""
    fields = _read("/proc/stat").partition("\n")[0].split()[1:]
    if len(fields) < 8:
        return {"busy_ticks": None, "steal_ticks": None, "ticks_per_second": None}
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return {
        "busy_ticks": user + nice + system + irq + softirq,
        "steal_ticks": steal,
        "ticks_per_second": os.sysconf("SC_CLK_TCK"),
    }
