"""Coefficients of kinds of cores: which serve for a device, at which clock, and what a broken file says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from edgecnn.device import LATENCY_KINDS, Core, DeviceProfile, device_names, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import NoCoefficientsError, estimate_latency
from edgecnn.estimate.cores import RUNTIMES_LIKE, kind_name, latency_models, load_core
from edgecnn.estimate.fitting import as_array
from edgecnn.formats import Graph, Operator, Tensor

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data"
CPUS = [name for name in device_names() if name != "host" and load_device(name).kind != "mcu"]
PHONES = ("pixel4", "galaxy-s10", "mi8se", "galaxy-a03s")


def board(*cores: Core, features: tuple[str, ...] = ("neon",)) -> DeviceProfile:
    """A device that no file describes."""
    return DeviceProfile(
        name="mine", title="Mine", kind="linux", arch="aarch64", sources={}, cores=cores, features=features
    )


@pytest.mark.parametrize("device", CPUS)
def test_every_cpu_device_has_estimates(device: str) -> None:
    """On each CPU device of the catalogue LiteRT and onnxruntime have an estimate with a band, in fp32 and w8a8."""
    profile = load_device(device)
    known = {(model.runtime, model.precision) for model in latency_models(profile)}
    assert {(r, p) for r in ("litert", "onnxruntime") for p in ("fp32", "w8a8")} <= known
    for runtime in ("litert", "onnxruntime"):
        estimate = estimate_latency(DATA / "classifier.tflite", profile, threads=None, runtime=runtime)
        assert 0 < estimate.low_ns < estimate.p50_ns < estimate.high_ns
        assert estimate.rests_on


def test_costs_scale_with_the_clock() -> None:
    """At twice the clock a core takes half the time."""
    slow, fast = (
        estimate_latency(DATA / "classifier.tflite", board(Core("Cortex-A53", 4, clock))) for clock in (700, 1400)
    )
    assert slow.p50_ns == pytest.approx(2 * fast.p50_ns)
    assert any("of its kind of core" in note for note in slow.notes)


def test_a_core_of_unknown_kind_or_clock_has_no_estimate() -> None:
    """Without a clock, or with a core that no file describes, nothing is estimated, and the sentence says how to."""
    for core in (Core("Cortex-A53", 4), Core("Cortex-Z1", 4, 1000)):
        with pytest.raises(NoCoefficientsError, match="edgecnn devices calibrate"):
            estimate_latency(DATA / "classifier.tflite", board(core))


def test_a_misspelt_kind_names_the_near_one() -> None:
    """A core whose `kind` names no file is refused with the known kinds."""
    with pytest.raises(EdgecnnError, match=r"Gold.*cortex-a67.*cortex-a76"):
        latency_models(board(Core("Kryo Gold", 4, 2000, "cortex-a67")))


def test_dot_product_kernels_need_the_feature() -> None:
    """Int8 on a Cortex-A55 is faster where the device has dot products; float is the same."""
    costs = {}
    for features in (("neon",), ("neon", "dotprod")):
        for model in latency_models(board(Core("Cortex-A55", 4, 1800), features=features)):
            if (model.runtime, model.threads) == ("litert", 1):
                costs[features, model.precision] = model.costs["conv"].ns_per_mac
    assert costs[("neon", "dotprod"), "w8a8"] < 0.7 * costs[("neon",), "w8a8"]
    assert costs[("neon", "dotprod"), "fp32"] == costs[("neon",), "fp32"]


def test_own_figures_come_first() -> None:
    """A device's own coefficients hide those of its core for the same runtime, precision and number of threads."""
    profile = load_device("rpi4")
    own = next(m for m in profile.latency if (m.runtime, m.precision, m.threads) == ("litert", "fp32", 4))
    found = [m for m in latency_models(profile) if (m.runtime, m.precision, m.threads) == ("litert", "fp32", 4)]
    assert found == [own]


def test_no_core_gets_more_threads_than_it_has() -> None:
    """Two cores have coefficients for one and two threads, not for four."""
    found = {model.threads for model in latency_models(board(Core("Cortex-A76", 2, 2000)))}
    assert found == {1, 2}


def test_the_cores_can_be_chosen() -> None:
    """The small cores of a phone take longer than its large ones; a name that it does not have is refused."""
    large, small = (
        estimate_latency(DATA / "classifier.tflite", "pixel4", cores=cores)
        for cores in ("Kryo 485 Prime", "Kryo 485 Silver")
    )
    assert small.p50_ns > 2 * large.p50_ns
    assert estimate_latency(DATA / "classifier.tflite", "pixel4", threads=None, cores="Kryo 485 Silver").threads == 4
    with pytest.raises(EdgecnnError, match=r"Kryo 485 Bronze.*Kryo 485 Gold"):
        estimate_latency(DATA / "classifier.tflite", "pixel4", cores="Kryo 485 Bronze")


def test_what_is_like_another_has_a_wider_band() -> None:
    """A kind without figures of its own takes those of another, scaled, with a wider band and its reason."""
    x1, x3, a76 = (load_core(name) for name in ("cortex-x1", "cortex-x3", "cortex-a76"))
    assert len(x1.latency) == len(x3.latency) == len(a76.latency)
    for mine, between, theirs in zip(x1.latency, x3.latency, a76.latency, strict=True):
        assert as_array(between.costs) == pytest.approx(0.85 * as_array(theirs.costs))
        assert mine.high > between.high > theirs.high
        assert theirs.source in mine.source


def test_onnxruntime_is_like_litert() -> None:
    """Onnxruntime takes what one published pair says of LiteRT's time, with a wider band, and says so."""
    models = latency_models(board(Core("Cortex-A72", 4, 1500)))
    (mine,), (theirs,) = (
        [m for m in models if (m.runtime, m.precision, m.threads) == (runtime, "fp32", 4)]
        for runtime in ("onnxruntime", "litert")
    )
    like = RUNTIMES_LIKE["onnxruntime"]
    assert as_array(mine.costs) == pytest.approx(like.time * as_array(theirs.costs))
    assert mine.high == pytest.approx(like.spread["fp32"] * theirs.high)
    assert like.source in mine.source


def test_kinds_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kinds that are like each other give one clear line."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    (tmp_path / "cores").mkdir()
    for mine, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"cores/{mine}.toml").write_text(f'title = "{mine}"\nsource = "s"\nlike = "{other}"\n')
    with pytest.raises(EdgecnnError, match="like leads back to 'one'"):
        load_core("one")
    (tmp_path / "cores/one.toml").write_text('title = "One"\nsource = "s"\nlike = "cortex-a67"\n')
    with pytest.raises(EdgecnnError, match="cortex-a67"):
        load_core("one")


def test_a_name_becomes_a_file_name() -> None:
    """Names of cores as systems write them are names of files in lower case."""
    assert kind_name("Cortex-A76") == "cortex-a76"
    assert kind_name("Exynos M4") == "exynos-m4"


def test_phones_keep_to_their_bands() -> None:
    """At least nine in ten figures that were held out lie in the bands, which are no wider than -40 to +60 %."""
    tested = json.loads((ROOT / "benchmarks/tables/estimates/phones.json").read_text(encoding="utf-8"))
    totals = {row["left_out"]: row for row in tested if row["phone"] == "all"}
    for way, most_error in (("network", 0.15), ("network and phone", 0.30)):
        assert totals[way]["inside"] >= 0.9
        assert totals[way]["median_error"] <= most_error
        assert totals[way]["band"] <= 1.6
    for phone in PHONES:
        for model in load_device(phone).latency:
            assert 0.6 <= model.low < model.high <= 1.6 + 1e-9


def test_figures_rest_on_networks_of_their_published_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks that the phones' figures are of have the multiply-adds that their papers give."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from phone_networks import TABLE, amounts, read_networks

    with TABLE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for name, macs in {"mobilenet_w1": 569e6, "resnet18": 1.82e9, "mobilenetv2_w1": 300e6}.items():
        own = [line for line in lines if (line["network"], line["precision"]) == (name, "fp32")]
        assert sum(int(line["macs"]) for line in own) == pytest.approx(macs, rel=0.05)
    assert len(read_networks("fp32")) == len(read_networks("w8a8")) == 70
    float32, int8 = (amounts(read_networks(name)["resnet18"], name).reshape(-1, 3) for name in ("fp32", "w8a8"))
    pointwise, padding = LATENCY_KINDS.index("pointwise"), LATENCY_KINDS.index("padding")
    assert np.allclose(float32[pointwise, 1], 4 * int8[pointwise, 1])
    # That of the pooling; in int8 also those of its four convolutions with stride 2 and a kernel.
    assert (float32[padding, 2], int8[padding, 2]) == (1, 5)


def test_a_network_of_one_operator_costs_what_the_file_says() -> None:
    """The estimate of one convolution is its multiply-adds, bytes and call, times the core's costs at its clock."""
    shapes = ((1, 8, 8, 8), (16, 3, 3, 8), (1, 8, 8, 16))
    tensors = tuple(Tensor(f"t{i}", shape, "float32", constant=i == 1) for i, shape in enumerate(shapes))
    macs, moved_bytes = 8 * 8 * 16 * 8 * 9, 4 * (8 * 8 * 8 + 8 * 8 * 16 + 16 * 9 * 8)
    graph = Graph("tflite", tensors, (Operator("CONV_2D", (0, 1), (2,), macs=macs),), (0,), (2,), 0)
    estimate = estimate_latency(graph, board(Core("Cortex-A76", 4, 2000)))
    (model,) = (m for m in load_core("cortex-a76").latency if (m.precision, m.threads) == ("fp32", 1))
    cost = model.costs["conv"]
    expected = (cost.ns_per_mac * macs + cost.ns_per_byte * moved_bytes + cost.ns_per_operator) / 2
    assert estimate.p50_ns == pytest.approx(expected)
    assert estimate.high_ns == pytest.approx(expected * model.high)
