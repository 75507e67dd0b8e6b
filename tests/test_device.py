"""The device catalogue: every fact has its source, and what is left is what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.device import DeviceProfile, MemoryRegion, device_file, device_names, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.shipped import shipped

README = shipped("devices") / "README.md"


def every_profile() -> list[str]:
    """Return the names of all devices, and of all their variants."""
    return [
        spelled
        for name in sorted(path.stem for path in shipped("devices").glob("*.toml"))
        for spelled in (name, *(f"{name}:{variant}" for variant in load_device(name).variants))
    ]


@pytest.mark.parametrize("name", [*every_profile(), "host"])
def test_every_fact_has_its_source(name: str) -> None:
    """Each fact of each profile says where it comes from, and no source speaks of a fact that is not there."""
    profile = load_device(name)
    facts = profile.facts()
    assert {fact: text for fact in facts if not (text := profile.sources.get(fact, "").strip())} == {}
    assert set(profile.sources) <= set(facts)


@pytest.mark.parametrize("name", every_profile())
def test_something_is_left(name: str) -> None:
    """The system leaves something of each memory for a runtime and a model."""
    for region in load_device(name).memory:
        assert 0 < region.limit_bytes <= region.size_bytes


def test_the_asked_for_devices_are_there() -> None:
    """The boards, phones and microcontrollers that edgecnn promises are in the catalogue."""
    promised = """rpizero2w rpi3bplus rpi4 rpi5 jetson-nano orangepi5 pixel7pro snapdragon8gen2 x86-avx2 x86-vnni
    stm32h7a3 stm32l4r5 stm32f746 stm32u575 nrf5340 ra8d1 host"""
    assert set(promised.split()) <= set(device_names())


@pytest.mark.parametrize("name", ["rpi4", "rpi5", "orangepi5"])
def test_the_default_variant_is_the_smallest(name: str) -> None:
    """What fits the default variant fits every variant."""

    def left(spelled: str) -> int:
        region = load_device(spelled).region("ram")
        assert region is not None
        return region.limit_bytes

    assert left(name) == min(left(f"{name}:{variant}") for variant in load_device(name).variants)


def test_a_variant_changes_its_ram() -> None:
    """`rpi4:4gb` has 4 GiB, and its own source for what the system takes of them."""
    small, large = load_device("rpi4"), load_device("rpi4:4gb")
    assert small.variant == "1gb"
    assert large.region("ram") == MemoryRegion("ram", 4 << 30, 593 << 20)
    assert large.sources["memory.ram.system"] != small.sources["memory.ram.system"]
    assert large.region("flash") is None


def test_an_unknown_variant_is_told() -> None:
    """A variant that is not there is answered with those that are."""
    with pytest.raises(EdgecnnError, match=r"unknown variant of rpi4 '3gb'.*known: 1gb, 2gb, 4gb, 8gb"):
        load_device("rpi4:3gb")


@pytest.mark.parametrize("name", ["rpi", "", ":", "rpi4x", "../rpi4"])
def test_an_unknown_device_is_told(name: str) -> None:
    """A device that is not there is told of, whatever was typed."""
    with pytest.raises(EdgecnnError):
        load_device(name)


def test_json_says_bytes() -> None:
    """The JSON form has sizes in bytes and null for what is not known."""
    document = load_device("rpizero2w").to_json()
    assert document["memory"] == [
        {"name": "ram", "size_bytes": 512 << 20, "system_bytes": 221 << 20, "limit_bytes": 291 << 20}
    ]
    assert document["runtimes"]["litert"] == {"ram_bytes": 36 << 20, "flash_bytes": None}
    assert document["governor"] is None


def test_the_readme_shows_a_whole_file() -> None:
    """The file that devices/README.md shows is the one that is shipped."""
    assert device_file("rpizero2w").read_text(encoding="utf-8") in README.read_text(encoding="utf-8")


HEAD = 'title = "x"\nkind = "linux"\narch = "a"\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEAD + 'default_variant = "big"\n[sources]\n', "default_variant"),
        (HEAD + '[sources]\n[variants.big]\ntitle = "big"\nmemory = { rom = "1GiB" }\n', "'rom'"),
        (HEAD + '[[memory]]\nname = "ram"\nsize = "1MiB"\nsystem = "2MiB"\n[sources]\n', "nothing is left"),
        (HEAD + '[[memory]]\nname = "ram"\nsize = "lots"\n[sources]\n', r"memory\[0\]\.size: 'lots' is not a size"),
        (HEAD + '[[cores]]\nname = "A"\ncount = -1\n[sources]\n', "cores: -1 x A is not a core"),
        (HEAD + 'name = "y"\n[sources]\n', "'name'"),
    ],
)
def test_a_file_that_makes_no_sense_is_told(tmp_path: Path, content: str, told: str) -> None:
    """A file of the right types that contradicts itself is refused, and named."""
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EdgecnnError, match=told) as caught:
        load_device(str(path))
    assert str(path) in str(caught.value)


def test_facts_leave_out_what_is_not_known() -> None:
    """A profile states the facts it has and no others."""
    assert DeviceProfile(name="x", title="x", kind="mcu", arch="cortex-m4", sources={}).facts() == {"arch": "cortex-m4"}
