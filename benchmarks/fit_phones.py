"""Fit the latency coefficients of kinds of cores and of four phones to published figures of LiteRT, and test them.

`python benchmarks/fit_phones.py tflite_cnn_e2e.csv [--dry-run]` reads the latencies of 70 networks on phones, which are
not part of this repository (https://github.com/qed-usc/mobile-ml-benchmark, MIT), benchmarks/tables/phone_networks.csv
(phone_networks.py) and, for the level of today's kernels, XNNPACK's figures in benchmarks/tables/published_latency.csv.

A setting is a phone, a kind of core, a number of threads and a precision. Its costs are the most probable ones given
its latencies and the shape of its family (float, int8 with dot products, int8 without), which all settings share. A
kind of core costs the geometric mean of what it does on the phones that have it, at the same clock. What is left out:
whole networks (ten folds, on all phones) and, of those networks, also the whole phone. The bands are split-conformal
(Vovk 2005). The coefficients go to devices/*.toml and cores/*.toml, the results to
benchmarks/tables/estimates/phones.json and phones.md. Takes a minute.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fit_published import FIGURES, MACS_A_CYCLE, markdown
from phone_figures import DEVICES, PRECISIONS, Setting, family_of, read_settings
from phone_networks import amounts, read_networks
from reference_networks import works_of

from edgecnn.device import LatencyModel
from edgecnn.estimate.coefficients import to_toml, write_coefficients
from edgecnn.estimate.fitting import Floats, Spread, amounts_of, as_costs, band_of, fit_costs, prior_of
from edgecnn.files import write_whole
from edgecnn.shipped import shipped

RESULTS = Path(__file__).parent / "tables/estimates/phones"
SOURCE = "https://github.com/qed-usc/mobile-ml-benchmark (MIT)"
XNNPACK = "https://github.com/google/XNNPACK/blob/master/README.md"
COVERAGE, FOLDS = 0.93, 10
#: Of the shape of a family, and of a setting about it; a few figures are off by much (a phone that throttled).
SHAPE, SETTING = Spread(3.0, 1.0, 0.6, 0.1), Spread(3.0, 0.4, 0.2, 0.08)
#: Bands of phones are at least so wide and at most: -40 to +60 %.
LEAST_BAND, MOST_BAND = 1.2, 1.6
DOT = "dotprod"


TITLES = {
    "cortex-a53": "Arm Cortex-A53",
    "cortex-a55": "Arm Cortex-A55",
    "cortex-a72": "Arm Cortex-A72",
    "cortex-a75": "Arm Cortex-A75",
    "cortex-a76": "Arm Cortex-A76",
    "exynos-m4": "Samsung Exynos M4",
}
THREADS = (1, 2, 4)
#: Kind of core → the device of published_latency.csv that has XNNPACK's figures, on four threads.
XNNPACK_BOARDS = {"cortex-a53": "rpi3bplus-armv7", "cortex-a72": "rpi4"}
#: Of costs from the phones' kernels to XNNPACK's: a factor each for multiply-adds, bytes and operators. Four MobileNets
#: tell no more, and say nothing of regular convolutions by themselves.
SHIFT = Spread(0.2, 0.6, 0.05, 0.1)
#: MobileNet v1 in float on one thread (XNNPACK's README, 2020-03-27): the Pixel 3a's Kryo 360 Gold at 2 GHz is an A75.
PIXEL_3A = ("cortex-a75", 2000.0, 88.0)
#: Standard deviation of the logarithm by which boards with one kind of core, at one clock, differ (memory, cooling).
BOARDS, OTHER_BOARDS = 0.2, 0.3  # the second where another kind's figures set the level


@dataclass(frozen=True)
class Costs:
    """Log costs [c] of a setting at 1 GHz, and the mean logarithm of what the networks take with them."""

    setting: Setting
    logs: Floats
    level: float


def fit_settings(settings: Sequence[Setting], work: Mapping[str, Floats], used: np.ndarray) -> list[Costs]:
    """Return the costs of each setting, fitted to the networks that *used* keeps; *work*: precision → [n, c]."""
    shapes = {}
    for family in dict.fromkeys(setting.family for setting in settings):
        own = [setting for setting in settings if setting.family == family]
        logs = np.log([setting.latencies_ns[used] for setting in own])
        typical = np.exp(np.median(logs - logs.mean(axis=1, keepdims=True), axis=0) + logs.mean())
        precision = own[0].precision
        shapes[family] = fit_costs(work[precision][used], typical, prior_of("litert", precision), SHAPE)
    found = []
    for setting in settings:
        amount = work[setting.precision][used]
        costs = fit_costs(amount, setting.latencies_ns[used], shapes[setting.family], SETTING)
        logs = np.log(costs) + np.log(setting.cluster.clock_mhz / 1000)
        found.append(Costs(setting, logs, float(np.mean(np.log(amount @ np.exp(logs))))))
    return found


def costs_of_kind(kind: str, threads: int, family: str, known: Sequence[Costs]) -> tuple[Floats, bool] | None:
    """Return log costs [c] at 1 GHz of a kind of core and whether they rest on that kind; None: nothing is known.

    Without figures for so many threads those for the nearest number count, and what threads gain elsewhere. Without
    figures of the kind, all others', by the multiply-adds that a core can begin in a cycle.
    """
    alike = [one for one in known if one.setting.family == family]
    own = [one for one in alike if one.setting.cluster.kind == kind]
    base = own or alike
    if not base:
        return None
    nearest = min((one.setting.threads for one in base), key=lambda count: (abs(count - threads), -count))
    chosen = [one for one in base if one.setting.threads == nearest]
    shift = gain_of_threads(nearest, threads, alike)
    phones: dict[str, list[Floats]] = defaultdict(list)
    for one in chosen:
        faster = np.log(macs_a_cycle(one.setting.cluster.kind) / macs_a_cycle(kind)) if not own else 0.0
        phones[one.setting.phone].append(one.logs + faster)
    mean = np.mean([np.mean(logs, axis=0) for logs in phones.values()], axis=0)
    return np.asarray(mean + shift), bool(own)


def macs_a_cycle(kind: str) -> float:
    """Return the float multiply-adds that a core can begin in a cycle; the M4 is near an A76."""
    names = {re.sub(r"\W+", "-", name.lower()): macs for name, macs in MACS_A_CYCLE.items()}
    return float(names.get(kind, {"cortex-a75": 4, "exynos-m4": 10}.get(kind, 8)))


def gain_of_threads(before: int, after: int, known: Sequence[Costs]) -> float:
    """Return by how much the logarithm of the time differs from *before* to *after* threads, over all clusters."""
    clusters: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for one in known:
        clusters[one.setting.phone, one.setting.cluster.name][one.setting.threads] = one.level
    gains = [levels[after] - levels[before] for levels in clusters.values() if before in levels and after in levels]
    return float(np.median(gains)) if gains else 0.75 * float(np.log(before / after))


@dataclass(frozen=True)
class Left:
    """Logarithms of truth / estimate of all networks of one setting, each network left out; *phone*: also its phone."""

    setting: Setting
    phone: bool
    own_kind: bool  # other phones have the kind of core
    logs: Floats  # [n]


def leave_out(settings: Sequence[Setting], work: Mapping[str, Floats], count: int) -> list[Left]:
    """Return what is predicted of networks left out, and of networks on phones left out."""
    fold = np.random.default_rng(22).permutation(count) % FOLDS
    logs = {(place, phone): np.zeros(count) for place in range(len(settings)) for phone in (False, True)}
    kinds = dict.fromkeys(range(len(settings)), False)
    for number in range(FOLDS):
        fitted = fit_settings(settings, work, fold != number)
        held = fold == number
        for place, setting in enumerate(settings):
            clock = np.log(setting.cluster.clock_mhz / 1000)
            others = [one for one in fitted if one.setting.phone != setting.phone]
            other = costs_of_kind(setting.cluster.kind, setting.threads, setting.family, others)
            assert other is not None
            kinds[place] = other[1]
            for phone, costs in ((False, fitted[place].logs), (True, other[0])):
                predicted = work[setting.precision][held] @ np.exp(costs - clock)
                logs[place, phone][held] = np.log(setting.latencies_ns[held] / predicted)
    return [Left(settings[place], phone, kinds[place], found) for (place, phone), found in logs.items()]


def bands_of(left: Sequence[Left]) -> Iterator[tuple[Left, Floats]]:
    """Yield the half-width of the band (a logarithm) for each network of each setting, without the network's own error.

    Of a phone left out it comes from the other phones; of a network left out from the setting's other networks.
    """
    for one in left:
        if not one.phone:
            widths = [
                np.log(band_of(np.exp(np.delete(one.logs, index)), COVERAGE)[1]) for index in range(len(one.logs))
            ]
        else:
            rest = [
                other.logs
                for other in left
                if other.phone and other.own_kind == one.own_kind and other.setting.phone != one.setting.phone
            ]
            pooled = np.concatenate(rest or [one.logs])
            widths = [np.log(band_of(np.exp(pooled), COVERAGE)[1])] * len(one.logs)
        most = np.inf if one.phone and not one.own_kind else np.log(MOST_BAND)
        yield one, np.clip(widths, np.log(LEAST_BAND), most)


def summary(left: Sequence[Left]) -> list[dict[str, object]]:
    """Return coverage and error by setting, and over all."""
    found: list[dict[str, object]] = []
    groups: dict[tuple[str, str, str, str], list[tuple[Floats, Floats]]] = defaultdict(list)
    for one, widths in bands_of(left):
        way = "network" if not one.phone else "network and phone" + ("" if one.own_kind else ", no such core elsewhere")
        facts = one.setting
        groups[way, "all", "all", "all"].append((one.logs, widths))
        groups[way, facts.phone, facts.cluster.name, f"{facts.precision}, {facts.threads}"].append((one.logs, widths))
    for (way, phone, cores, setting), parts in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1:])):
        logs, widths = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
        found.append(
            {
                "left_out": way,
                "phone": phone,
                "cores": cores,
                "precision, threads": setting,
                "figures": len(logs),
                "inside": round(float(np.mean(np.abs(logs) <= widths)), 3),
                "median_error": round(float(np.median(np.abs(np.expm1(-logs)))), 3),
                "median_ratio": round(float(np.exp(np.median(logs))), 3),
                "band": round(float(np.exp(np.median(widths))), 2),
            }
        )
    return found


def model_of(costs: Floats, setting: tuple[str, int], high: float, networks: int, source: str) -> LatencyModel:
    """Return coefficients for LiteRT with costs [c] in ns and the band 1 / high to high."""
    high = float(f"{high:.4f}")
    return LatencyModel(
        runtime="litert",
        precision=setting[0],
        threads=setting[1],
        costs=as_costs(costs),
        low=float(f"{1 / high:.4f}"),
        high=high,
        coverage=0.9,
        networks=networks,
        source=source,
    )


def phone_models(fitted: Sequence[Costs], left: Sequence[Left]) -> dict[str, list[LatencyModel]]:
    """Return phone → its own coefficients."""
    widths = {id(one.setting): float(np.median(width)) for one, width in bands_of(left) if not one.phone}
    found: dict[str, list[LatencyModel]] = defaultdict(list)
    for one in fitted:
        own = one.setting
        costs = np.exp(one.logs) / (own.cluster.clock_mhz / 1000)
        text = (
            f"fitted by benchmarks/fit_phones.py to figures of {len(own.latencies_ns)} networks on this phone: {SOURCE}"
        )
        model = model_of(costs, (own.precision, own.threads), np.exp(widths[id(own)]), len(own.latencies_ns), text)
        found[own.phone].append(replace(model, cores=own.cluster.name))
    return found


def xnnpack_shift(kind: str, precision: str, base: Floats) -> Floats:
    """Return by how much log costs [c] differ from *base*, those on four threads, to give XNNPACK's published figures.

    Its kernels gain much on bytes and operators and little on multiply-adds.
    """
    with FIGURES.open(encoding="utf-8", newline="") as file:
        lines = [
            line for line in csv.DictReader(file) if line["runtime"] == "litert" and line["precision"] == precision
        ]
    own = [line for line in lines if line["device"] == XNNPACK_BOARDS[kind]]
    amount = np.array([amounts_of(works_of(line["network"]), precision) for line in own])
    cycles = np.array([float(line["latency_ms"]) * 1e6 * float(line["clock_mhz"]) / 1000 for line in own])
    costs = fit_costs(amount, cycles, np.exp(base), SHIFT)
    ratios = [
        f"{line['network']} {before:.2f} → {after:.2f}"
        for line, before, after in zip(own, cycles / (amount @ np.exp(base)), cycles / (amount @ costs), strict=True)
    ]
    print(kind, precision, "XNNPACK's figures over those of the phones' kernels, before and after:", ratios)
    return np.asarray(np.log(costs) - base)


def shifts(known: Sequence[Costs]) -> dict[tuple[str, str], Floats]:
    """Return (kind of core, precision) → the shift of its log costs to the level of XNNPACK's kernels.

    The A72 has an A75's shape and, before its own figures, the shift of the A53.
    """
    found = {}
    for precision in PRECISIONS.values():
        family = family_of(precision, False)
        bases = [costs_of_kind(kind, 4, family, known) for kind in ("cortex-a53", "cortex-a75")]
        assert bases[0] is not None
        assert bases[1] is not None
        own = found["cortex-a53", precision] = xnnpack_shift("cortex-a53", precision, bases[0][0])
        found["cortex-a72", precision] = own + xnnpack_shift("cortex-a72", precision, bases[1][0] + own)
    kind, clock_mhz, ms = PIXEL_3A
    base = costs_of_kind(kind, 1, "fp32", known)
    assert base is not None
    amount = amounts(read_networks("fp32")["mobilenet_w1"], "fp32")
    predicted_ms = float(amount @ np.exp(base[0] + found["cortex-a53", "fp32"])) / clock_mhz / 1e3
    print(f"not fitted to: MobileNet v1 on a Pixel 3a, predicted {predicted_ms:.0f} ms, published {ms:.0f}")
    return found


def kind_models(
    kind: str, known: Sequence[Costs], shift: Mapping[tuple[str, str], Floats], width: float
) -> list[LatencyModel]:
    """Return the coefficients of a kind of core at 1 GHz, at the level of XNNPACK's figures."""
    shape = "cortex-a75" if kind == "cortex-a72" else kind
    found = []
    for precision, dot in (("fp32", False), ("w8a8", False), ("w8a8", True)):
        family = family_of(precision, dot)
        phones = sorted(
            {o.setting.phone for o in known if o.setting.cluster.kind == shape and o.setting.family == family}
        )
        if not phones:
            continue
        # With dot products XNNPACK has no figures in int8: the gain in float stands for it.
        gain = shift.get((kind, precision), shift["cortex-a53", "fp32" if dot else precision])
        own = (kind, precision) in shift
        high = float(np.exp(np.hypot(width, 1.645 * (BOARDS if own else OTHER_BOARDS))))
        level = TITLES[kind] if own else "Arm Cortex-A53" + (" in fp32" if dot else "")
        text = (
            f"fitted by benchmarks/fit_phones.py: shape from figures of 70 networks on {', '.join(phones)} ({SOURCE}), "
            f"level from XNNPACK's figures of an {level} ({XNNPACK})"
        )
        for threads in THREADS:
            base = costs_of_kind(shape, threads, family, known)
            assert base is not None
            model = model_of(np.exp(base[0] + gain), (precision, threads), high, 70, text)
            found.append(replace(model, features=(DOT,) if dot else ()))
    return found


def core_file(kind: str, models: Sequence[LatencyModel]) -> str:
    """Return the file of a kind of core."""
    facts = {"title": TITLES[kind], "source": "benchmarks/fit_phones.py; costs at 1 GHz; each table bears its source"}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    return "\n".join((*lines, "clock_mhz = 1000", "", to_toml(models)))


def main() -> None:
    """Fit, test, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="tflite_cnn_e2e.csv of the phones' figures")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    given = parser.parse_args()
    networks = list(read_networks("fp32"))
    work = {
        name: np.array([amounts(one, name) for one in read_networks(name).values()]) for name in PRECISIONS.values()
    }
    settings = read_settings(given.data, networks)
    left = leave_out(settings, work, len(networks))
    results = summary(left)
    for row in results:
        if row["phone"] == "all" or given.dry_run:
            print(row)
    known = fit_settings(settings, work, np.ones(len(networks), bool))
    elsewhere = np.concatenate([one.logs for one in left if one.phone and one.own_kind])
    width = float(np.log(band_of(np.exp(elsewhere), COVERAGE)[1]))
    shift = shifts(known)
    print("band of a phone left out:", np.exp(width))
    if given.dry_run:
        return
    for phone, models in phone_models(known, left).items():
        path = shipped("devices") / f"{DEVICES[phone]}.toml"
        write_coefficients(path, path, models)
    for kind in TITLES:
        write_whole(shipped("cores") / f"{kind}.toml", core_file(kind, kind_models(kind, known, shift, width)))
    write_whole(RESULTS.with_suffix(".json"), json.dumps(results, indent=1) + "\n")
    write_whole(RESULTS.with_suffix(".md"), markdown("Figures of phones, predicted without them", __doc__, results))


if __name__ == "__main__":
    main()
