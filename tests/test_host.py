"""The machine at hand, and boards whose `/proc` and `/sys` are laid out here as they show themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecnn.device import load_device
from edgecnn.host import read_host

PI5_CPU = """processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: {part}

"""
X86_CPU = """processor\t: {index}
model name\t: Some CPU
cpu MHz\t\t: 2600.123
flags\t\t: fpu fma avx2 f16c avx512f avx512_vnni

"""


def board(root: Path, files: dict[str, str]) -> Path:
    """Lay *files* out under *root*."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def test_a_big_little_board(tmp_path: Path) -> None:
    """Unlike cores are told apart, fastest first; the model is read from the device tree, the clock from /sys."""
    files = {
        "proc/cpuinfo": "".join(
            PI5_CPU.format(index=i, part=part) for i, part in enumerate(["0xd05"] * 4 + ["0xd0b"] * 2)
        ),
        "proc/device-tree/model": "Orange Pi 5\0",
        "proc/meminfo": "MemTotal:        4000000 kB\nMemFree: 1000 kB\nMemAvailable:    3000000 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        **{f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "1800000\n" for i in range(4)},
        **{f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "2400000\n" for i in (4, 5)},
    }
    host = read_host(board(tmp_path, files))
    assert host.cpu == "Orange Pi 5"
    assert host.cores == (("Cortex-A76", 2, 2400), ("Cortex-A55", 4, 1800))
    assert host.features == ("neon", "fp16", "dotprod")
    assert (host.ram_bytes, host.ram_used_bytes) == (4_000_000 * 1024, 1_000_000 * 1024)
    assert host.governor == "ondemand"
    assert host.sources["soc"] == "/proc/device-tree/model"


def test_an_old_kernel_names_the_board_in_cpuinfo(tmp_path: Path) -> None:
    """Where there is no device tree, the line `Model` of /proc/cpuinfo names the board."""
    content = PI5_CPU.format(index=0, part="0xd03") + "Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 3 Model B Plus\n"
    host = read_host(board(tmp_path, {"proc/cpuinfo": content}))
    assert host.cpu == "Raspberry Pi 3 Model B Plus"
    assert host.cores == (("Cortex-A53", 1, None),)
    assert host.sources["cores"] == "/proc/cpuinfo"  # and nothing about a clock that is not told
    assert host.ram_bytes is None
    assert "memory.ram" not in host.sources


def test_a_machine_without_cpufreq(tmp_path: Path) -> None:
    """A virtual machine has no cpufreq: the clock is the one of now, and the source says so."""
    host = read_host(board(tmp_path, {"proc/cpuinfo": X86_CPU.format(index=0) + X86_CPU.format(index=1)}))
    assert host.cores == (("Some CPU", 2, 2600),)
    assert host.features == ("avx2", "fma", "f16c", "avx512f", "avx512_vnni")
    assert host.governor is None
    assert "gives it now" in host.sources["cores"]


def test_features_are_those_of_every_core(tmp_path: Path) -> None:
    """A feature that one core lacks is no feature of the machine."""
    weak = PI5_CPU.format(index=1, part="0xd03").replace(" asimddp", "").replace(" asimdhp", "")
    host = read_host(board(tmp_path, {"proc/cpuinfo": PI5_CPU.format(index=0, part="0xd0b") + weak}))
    assert host.features == ("neon",)


def test_a_container_has_its_own_limit(tmp_path: Path) -> None:
    """In a container the cgroup's limit is the RAM, and what the page cache could give back is not in use."""
    files = {
        "proc/cpuinfo": X86_CPU.format(index=0),
        "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n",
        "sys/fs/cgroup/memory.max": "1000000\n",
        "sys/fs/cgroup/memory.current": "400000\n",
        "sys/fs/cgroup/memory.stat": "anon 100000\ninactive_file 250000\n",
    }
    host = read_host(board(tmp_path, files))
    assert (host.ram_bytes, host.ram_used_bytes) == (1_000_000, 150_000)
    assert host.sources["memory.ram"] == "/sys/fs/cgroup/memory.max"


def test_a_machine_without_proc(tmp_path: Path) -> None:
    """Where there is no /proc, what Python itself knows is told, and nothing else."""
    host = read_host(tmp_path)
    assert sum(count for _, count, _ in host.cores) == os.cpu_count()
    assert host.features == ()


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="no /proc here")
def test_host_is_a_device() -> None:
    """`host` is a device like any other: its RAM is this machine's, and something is left of it."""
    profile = load_device("host")
    region = profile.region("ram")
    assert region is not None
    assert 0 < region.limit_bytes < region.size_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert profile.runtimes["litert"].ram_bytes
