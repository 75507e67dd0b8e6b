"""`latency_models`: the coefficients that serve for a device: its own, and those of its kinds of cores.

What an operator costs depends on the kind of core, on the instruction sets that its kernels use, and on the number of
threads, much more than on the board. So a device without figures of its own gets those of its cores, scaled by their
clock, with a wider band. A file of `cores/` is one kind of core.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edgecnn.device import Core, DeviceProfile, LatencyModel, OperatorCost
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.parsing import read_toml
from edgecnn.shipped import shipped_files

FOLDER = "cores"


@dataclass(frozen=True)
class CoreKind:
    """One kind of core: coefficients of its own at *clock_mhz*, or another kind that it is *like*."""

    name: str
    title: str
    source: str
    clock_mhz: float = 1000.0
    latency: tuple[LatencyModel, ...] = ()
    like: str | None = None
    time: float = 1.0  # that it takes for what the other takes 1, at the same clock
    spread: float = 1.0  # how much wider its band is, as a factor


@dataclass(frozen=True)
class RuntimeLike:
    """A runtime without figures of its own, whose kernels are like those of another."""

    like: str
    time: float  # that it takes for what the other takes 1
    spread: Mapping[str, float]  # precision → how much wider the band is, as a factor
    source: str


#: Runtime → what stands for its figures on cores.
RUNTIMES_LIKE: Mapping[str, RuntimeLike] = {
    "onnxruntime": RuntimeLike(
        "litert",
        126.9 / 136.9,
        {"fp32": 1.3, "w8a8": 1.6},
        "onnxruntime takes 0.93 of the time of XNNPACK's kernels on a Cortex-A76 (YOLO26n in fp32, 126.9 and 136.9 ms "
        "with ExecuTorch: Arm, 2026-09); no figures of it in int8",
    )
}


def latency_models(profile: DeviceProfile) -> tuple[LatencyModel, ...]:
    """Return the coefficients that serve for *profile*, its own first; the others name the core in their source."""
    several = len(profile.cores) > 1

    def borrowed() -> Iterator[LatencyModel]:
        for core in profile.cores:
            own = {(m.runtime, m.precision, m.threads) for m in profile.latency if m.cores in (None, core.name)}
            for model in _models_of(core, profile.features):
                if (model.runtime, model.precision, model.threads) not in own:
                    yield replace(model, cores=core.name if several else None)

    return (*profile.latency, *borrowed())


def _models_of(core: Core, features: tuple[str, ...]) -> Iterator[LatencyModel]:
    """Yield the coefficients of one kind of core at its clock, those of the most instruction sets where there are two.

    Raises:
        EdgecnnError: the device names a kind of core that no file of `cores/` describes.
    """
    files = shipped_files(FOLDER)
    name = core.kind or kind_name(core.name)
    if core.kind is not None and name not in files:
        raise unknown_name(f"kind of the core {core.name}", name, files)
    if name not in files or core.clock_mhz is None:
        return
    kind = load_core(name)
    best: dict[tuple[str, str, int], LatencyModel] = {}
    for model in sorted(kind.latency, key=lambda model: len(model.features)):
        if set(model.features) <= set(features) and model.threads <= core.count:
            best[model.runtime, model.precision, model.threads] = model
    where = f"the kind of core {kind.title}, scaled to {core.clock_mhz:g} MHz"
    for model in best.values():
        at_clock = scaled(model, kind.clock_mhz / core.clock_mhz, 1.0, f"{where}: {model.source}")
        yield at_clock
        for runtime, other in RUNTIMES_LIKE.items():
            if other.like == model.runtime and model.precision in other.spread:
                source = f"{other.source}; {at_clock.source}"
                like = scaled(at_clock, other.time, other.spread[model.precision], source)
                yield replace(like, runtime=runtime)


def kind_name(core: str) -> str:
    """Return the file name of the kind of core that is called so: `Cortex-A76` → `cortex-a76`."""
    return re.sub(r"[^a-z0-9]+", "-", core.lower()).strip("-")


def load_core(name: str) -> CoreKind:
    """Return the kind of core *name*, that it is like followed.

    Raises:
        EdgecnnError: there is no such kind, a broken file, or one that is like itself.
    """
    return _load_core(name, ())


def _load_core(name: str, seen: tuple[str, ...]) -> CoreKind:
    files = shipped_files(FOLDER)
    if name not in files:
        raise unknown_name("kind of core", name, files)
    kind = read_toml(files[name], CoreKind, name=name)
    if kind.clock_mhz <= 0 or kind.time <= 0 or kind.spread < 1:
        raise EdgecnnError(f"{files[name]}: clock_mhz and time must be above 0, spread at least 1")
    if kind.like is None:
        return kind
    if kind.like in (*seen, name):
        raise EdgecnnError(f"{files[name]}: like leads back to '{kind.like}'; name a kind with figures of its own")
    other = _load_core(kind.like, (*seen, name))
    models = tuple(scaled(model, kind.time, kind.spread, f"{kind.source}; {model.source}") for model in other.latency)
    return replace(kind, clock_mhz=other.clock_mhz, latency=models)


def scaled(model: LatencyModel, time: float, spread: float, source: str) -> LatencyModel:
    """Return *model* with all costs times *time*, its band wider by the factor *spread*, and another source."""
    costs = {
        kind: OperatorCost(cost.ns_per_mac * time, cost.ns_per_byte * time, cost.ns_per_operator * time)
        for kind, cost in model.costs.items()
    }
    return replace(model, costs=costs, low=model.low / spread, high=model.high * spread, source=source)


__all__ = ["CoreKind", "RuntimeLike", "kind_name", "latency_models", "load_core", "scaled"]
