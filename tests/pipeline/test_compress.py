"""Compression within a budget: what it may lose, where it ends, that it goes on after a stop, and its plan."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import program

from edgecnn.checkpoint import Checkpoint, read_weights
from edgecnn.compress.prune import size_of
from edgecnn.datasets import DataSource, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.fit import check_fit
from edgecnn.nets.network import build
from edgecnn.normalization import Normalization
from edgecnn.pipeline import (
    Budget,
    CompressResult,
    Plan,
    Search,
    Training,
    Uniform,
    compress_model,
    export_model,
    measure_sensitivity,
)
from edgecnn.pipeline.budget import Shortfall
from edgecnn.pipeline.plan import Round, TrainingSettings, layers_of
from edgecnn.recipe import load_recipe
from tests.messages import messages

GOAL = Budget(max_drop=0.04, max_macs_ratio=0.4)
SHORT = Training(epochs=3)
FAST = Search(share=0.4, ratios=(0.5,))
#: Few rounds: where each is written as a file, that is what takes long.
AT_ONCE = Search(share=0.9, layers=False, epochs_between=0)


def compress(model: Path, out: Path, how: Any = GOAL, data: Any = "digits", **more: Any) -> CompressResult:
    """Compress a digits network shortly."""
    settings = {} if isinstance(how, (Path, str)) else {"training": SHORT}
    return compress_model(str(model), out, how, data=data, **{**settings, **more})


def same(a: Path, b: Path) -> bool:
    """Return whether two checkpoints hold the same network, bit for bit."""
    one, other = read_weights(a), read_weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def small(digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressResult:
    """The digits network with 40 % of its MACs."""
    return compress(digits_checkpoint, tmp_path_factory.mktemp("small") / "small.safetensors")


def test_the_goals_are_met_and_the_file_bears_them(small: CompressResult) -> None:
    """A network within the budget comes out, and the checkpoint rebuilds it at the size told."""
    assert small.unmet == ()
    assert small.stopped == "the goals are met"
    assert 0.3 * small.before.macs < small.after.macs <= 0.4 * small.before.macs
    assert small.before.score is not None
    assert small.after.score is not None
    assert small.before.score.value - small.after.score.value <= 0.04
    assert small.score_after.n == 539
    assert small.score_before.value - small.score_after.value <= 0.05
    rebuilt = size_of(build(str(small.path)).module, (1, 8, 8))
    assert (rebuilt.params, rebuilt.macs) == (small.after.params, small.after.macs)


def test_each_round_saves_its_share(small: CompressResult) -> None:
    """Rounds that are kept cut about a fifth of the MACs each, the last what is missing."""
    kept = [small.before.macs, *(one.status.macs for one in small.attempts if one.kept)]
    assert len(kept) > 3
    for before, after in pairwise(kept[:-1]):
        assert 0.7 * before < after <= 0.81 * before
    assert kept[-1] == small.after.macs


def test_the_history_names_the_rounds(small: CompressResult) -> None:
    """The checkpoint tells each cut and each training, oldest first, and the document each round."""
    checkpoint = Checkpoint.read(small.path)
    assert checkpoint is not None
    kept = [one for one in small.attempts if one.kept]
    steps = [step["step"] for step in checkpoint.history]
    assert steps == ["train", *(["prune", "train"] * len(kept)), "train"]
    document = json.loads(json.dumps(small.to_json(), allow_nan=False))
    assert [one["cuts"] for one in document["rounds"]] == [dict(one.cuts) for one in small.attempts]
    assert document["w8a8_tflite_bytes"] == {"before": None, "after": None}
    assert not small.path.with_name("small.safetensors.run").exists()


def test_the_plan_does_the_same_again(small: CompressResult, digits_checkpoint: Path, tmp_path: Path) -> None:
    """A plan gives the same weights without searching."""
    assert small.plan is not None
    again = compress(digits_checkpoint, tmp_path / "again.safetensors", small.plan)
    assert same(small.path, again.path)
    assert again.plan is not None
    assert again.plan.read_text() == small.plan.read_text()


def test_a_plan_for_another_network_is_refused(small: CompressResult, tmp_path: Path) -> None:
    """The first weights that differ are named."""
    assert small.plan is not None
    # Which layer is the first that was cut depends on the order of sums, and so on the number of threads.
    with pytest.raises(EdgecnnError, match=r"another network .*its features\.\d\.weight has \[.*\], this one's \["):
        compress(small.path, tmp_path / "x.safetensors", small.plan)


def test_a_plan_is_known_to_be_for_another_network_before_the_data_are_met(
    small: CompressResult, tmp_path: Path
) -> None:
    """A network that does not take the plan's data is told for what it is: not the one that the plan is for."""
    assert small.plan is not None
    with pytest.raises(EdgecnnError, match=r"written for another network .*features\.0\.weight has \[32, 1, 3, 3\]"):
        compress_model("edgecnn:resnet20", tmp_path / "x.safetensors", small.plan)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("criterion =", "criterium =", "criterium.*did you mean 'criterion'"),
        ('criterion = "l2"', 'criterion = "l3"', "unknown criterion 'l3'"),
        ("ratio", "1.2", "features.4: a ratio is at least 0 and less than 1, or 1 for a layer or block whole, not 1.2"),
        ("ratio", "-0.1", "features.4: a ratio is at least 0"),
        ("unit", "features.5", "features.5: its filters are tied to those of features.4"),
        ("unit", "features.44", "unknown unit 'features.44'"),
        ("whole", "classifier", "classifier: its layer as a whole cannot be cut"),
        ("schema_version = 1", "schema_version = 9", "schema 9, this edgecnn reads 1"),
        ("batch_size = 64", "batch_size = 0", "a batch has at least 2 samples"),
        ("validation_split = 0.1", "validation_split = 1.0", "validation_split is at least 0 and less than 1, not 1"),
        ("shift = 0", "shift = -4", "shift is at least 0, not -4"),
        ("seed = 0", "seed = -1", "seed is at least 0, not -1"),
        ("epochs = 3", "epochs = -3", "epochs are 0 or more, not -3"),
        ("sparsity = 0.0", "sparsity = 1.2", "a sparsity is at least 0 and less than 1, not 1.2"),
        ("network =", "network", "not a TOML file"),
    ],
)
def test_a_broken_plan_is_told(
    small: CompressResult, digits_checkpoint: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    """A key, a value, a ratio or a unit that is wrong is named, before or instead of any training."""
    assert small.plan is not None
    text = small.plan.read_text()
    if old in ("ratio", "unit", "whole"):
        first = text.index('"features.4" = ')
        cuts = {"ratio": f'"features.4" = {new}', "unit": f'"{new}" = 0.5', "whole": f'"{new}" = 1.0'}
        old, new = text[first : text.index("\n", first)], cuts[old]
    (tmp_path / "broken.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(EdgecnnError, match=told):
        compress(digits_checkpoint, tmp_path / "x.safetensors", tmp_path / "broken.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_the_file_on_disk_is_what_counts(digits_checkpoint: Path, tmp_path: Path) -> None:
    """Goals of bytes and of a device are met by the very file that an export for microcontrollers writes."""
    device = tmp_path / "tiny.toml"
    device.write_text(
        'title = "Tiny"\nkind = "mcu"\narch = "cortex-m4"\nsources = {}\n'
        '[[memory]]\nname = "ram"\nsize = "20KiB"\nsystem = 0\n[[memory]]\nname = "flash"\nsize = "72KiB"\nsystem = 0\n'
    )
    budget = Budget(size_bytes=45 * 1024, device=str(device))
    out = tmp_path / "s.safetensors"
    found = compress(
        digits_checkpoint, out, replace(budget, search=replace(AT_ONCE, round_to=16)), training=Training(epochs=0)
    )
    assert found.unmet == ()
    recipe = replace(load_recipe("mcu"), limits={}, bundle=())
    exported = export_model(str(out), tmp_path / "out", recipe=recipe, data="digits").files[0].artifact
    assert found.after.size_bytes is not None
    assert found.before.size_bytes is not None
    assert exported.size_bytes == found.after.size_bytes <= 45 * 1024 < found.before.size_bytes
    report = check_fit(exported.path, str(device))
    assert report.fits
    assert {use.name: use.used_bytes for use in found.after.memory} == {r.name: r.used_bytes for r in report.regions}
    flash = next(use for use in found.before.memory if use.name == "flash")
    assert flash.used_bytes > flash.limit_bytes == 72 * 1024


def test_limits_of_ram_and_flash_are_goals_without_a_device(digits_checkpoint: Path, tmp_path: Path) -> None:
    """What `fit --ram --flash` says of the exported file is what the budget was met by."""
    budget = Budget(ram_bytes=20 * 1024, flash_bytes=72 * 1024)
    out = tmp_path / "s.safetensors"
    found = compress(
        digits_checkpoint, out, replace(budget, search=replace(AT_ONCE, round_to=16)), training=Training(epochs=0)
    )
    assert found.unmet == ()
    recipe = replace(load_recipe("mcu"), limits={}, bundle=())
    exported = export_model(str(out), tmp_path / "out", recipe=recipe, data="digits").files[0].artifact
    report = check_fit(exported.path, ram_bytes=budget.ram_bytes, flash_bytes=budget.flash_bytes)
    assert report.fits
    assert {use.name: use.used_bytes for use in found.after.memory} == {r.name: r.used_bytes for r in report.regions}
    assert [use.name for use in found.before.memory if use.used_bytes > use.limit_bytes] == ["flash"]


def test_a_budget_that_cannot_be_met_is_told(digits_checkpoint: Path, tmp_path: Path) -> None:
    """What is missed is said in numbers, and the best found, within the drop, is written all the same."""
    out = tmp_path / "best.safetensors"
    found = compress(
        digits_checkpoint, out, Budget(max_drop=0.04, max_params_ratio=0.001, search=FAST), training=Training(epochs=2)
    )
    sentence = found.unmet[0]
    assert sentence.endswith("% of the parameters are left, the goal is 0.1 %")
    assert all("accuracy" in other for other in found.unmet[1:])  # the drop, judged anew on unseen samples
    assert found.after.params < 0.5 * found.before.params
    assert any(not one.kept for one in found.attempts)
    assert found.after.score is not None
    assert found.before.score is not None
    assert found.before.score.value - found.after.score.value <= 0.04
    assert build(str(out)).module is not None
    assert found.stopped


def test_a_round_that_stays_too_far_down_is_taken_back(digits_checkpoint: Path, tmp_path: Path) -> None:
    """A round may lose three times the drop; where the last training does not make up for it, the one before counts."""
    search = Search(epochs_between=0, share=0.1, layers=False)
    out = tmp_path / "back.safetensors"
    found = compress(
        digits_checkpoint, out, Budget(max_drop=0.1, max_params_ratio=0.001, search=search), training=Training(epochs=0)
    )
    assert found.before.score is not None
    limit = found.before.score.value - 0.1
    kept = [one.status for one in found.attempts if one.kept]
    within = [status for status in kept if status.score and status.score.value >= limit]
    assert kept[-1] not in within
    assert found.after == within[-1]
    assert found.stopped.endswith("was reverted")


def test_a_training_at_the_end_that_harms_is_taken_back(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The best found is kept, be it the network before that training; the plan does not train either then."""
    out = tmp_path / "untrained.safetensors"
    goal = Budget(max_drop=0.01, max_macs_ratio=0.9)
    search = Search(epochs_between=0)
    found = compress(
        digits_checkpoint, out, replace(goal, search=search), training=Training(epochs=1, learning_rate=0.1)
    )
    assert found.unmet == ()
    assert found.after == found.attempts[-1].status
    assert found.stopped == "the goals are met; the final fine-tuning lowered the accuracy and was reverted"
    assert found.plan is not None
    assert Plan.read(found.plan).epochs == 0


def test_a_drop_alone_makes_it_as_small_as_it_goes(digits_checkpoint: Path, tmp_path: Path) -> None:
    """Without another goal cuts go on until too much would be lost; only the drop on unseen samples can be missed."""
    found = compress(
        digits_checkpoint,
        tmp_path / "least.safetensors",
        Budget(max_drop=0.04, search=FAST),
        training=Training(epochs=2),
    )
    assert all("accuracy" in sentence for sentence in found.unmet)
    assert found.after.score is not None
    assert found.before.score is not None
    assert found.before.score.value - found.after.score.value <= 0.04
    assert found.after.params < 0.4 * found.before.params


def test_what_cannot_be_had_leaves_the_original(digits_checkpoint: Path, tmp_path: Path) -> None:
    """Where every cut loses too much, the result is the network it began with, and says so."""
    out = tmp_path / "same.safetensors"
    budget = Budget(max_drop=0.0, max_macs_ratio=0.01)
    # Nothing is learned between rounds at this share: half of everything goes and the answers with it.
    found = compress(digits_checkpoint, out, replace(budget, search=Search(share=0.95, epochs_between=0)))
    assert same(out, digits_checkpoint)
    assert len(found.attempts) >= 2
    assert any("the result is the network as it was" in text for text in found.warnings)
    assert found.unmet == ("100.0 % of the MACs are left, the goal is 1 %",)


@pytest.mark.parametrize("order", ["forward", "backward", "random"])
def test_other_orders_cut_elsewhere(small: CompressResult, digits_checkpoint: Path, tmp_path: Path, order: str) -> None:
    """The order decides what the first round cuts."""
    search = Search(order=order, epochs_between=0)
    out = tmp_path / "o.safetensors"
    found = compress(digits_checkpoint, out, Budget(max_macs_ratio=0.85, search=search), training=Training(epochs=0))
    first = next(iter(found.attempts[0].cuts))
    assert first == {"forward": "features.0", "backward": "features.8"}.get(order, first)
    assert found.unmet == ()


@pytest.mark.parametrize("criterion", ["taylor", "bn_scale", "geometric_median"])
@pytest.mark.parametrize("ratio", [0.5, None])
def test_every_criterion_serves(digits_checkpoint: Path, tmp_path: Path, criterion: str, ratio: float | None) -> None:
    """Criteria that ask for gradients or norms get them, with a ratio and with a budget."""
    by_search = Budget(max_macs_ratio=0.7, search=Search(criterion=criterion))
    how = Uniform(ratio, criterion) if ratio else by_search
    out = tmp_path / "c.safetensors"
    found = compress(digits_checkpoint, out, how, training=Training(epochs=1))
    assert found.after.macs <= 0.7 * found.before.macs
    assert found.score_after.value > 0.7


KILLED = """
import os, signal, sys
from pathlib import Path
from edgecnn.normalization import Normalization
from edgecnn.pipeline import Budget, Training, compress_model

step, done, model, out, resume = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]

def progress(now, count=0, total=None):
    if now.startswith(step) and count >= done:
        os.kill(os.getpid(), signal.SIGKILL)

compress_model(model, out, Budget(max_drop=0.04, max_macs_ratio=0.4), data="digits", training=Training(epochs=3),
    resume=resume == "yes", progress=progress)
"""


def test_a_run_that_is_killed_goes_on_and_ends_the_same(
    small: CompressResult, digits_checkpoint: Path, tmp_path: Path
) -> None:
    """Killed while it ranks, in a round and in the last epoch, and resumed each time: the same network, bit for bit."""
    out = tmp_path / "small.safetensors"
    # 17 steps are an epoch: the last stop is in the third, two are kept.
    stops = (("round-02: judging", 1), ("round-02: training", 9), ("final", 40))
    for number, (step, done) in enumerate(stops):
        resume = "yes" if number else "no"
        run = program(KILLED, step, done, digits_checkpoint, out, resume)
        assert run.returncode == -signal.SIGKILL, run.stderr
        assert not out.exists()
    told: set[str] = set()
    found = compress(digits_checkpoint, out, resume=True, progress=lambda step, done=0, total=None: told.add(step))
    assert same(out, small.path)
    assert found.to_json()["rounds"] == small.to_json()["rounds"]
    assert found.plan is not None
    assert small.plan is not None
    assert found.plan.read_text() == small.plan.read_text()
    assert not any(step.startswith("round") for step in told)  # those were done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.plan.toml", "small.safetensors"]


#: No file may have more than 300 KiB: the state of a training has.
FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, 300 * 1024))
from edgecnn.cli import main
main(sys.argv[1:])
"""


DIVERGING = """
import torch
from torch.nn import functional
from edgecnn.nets.digits_cnn import DigitsCNN

class Net(DigitsCNN):
    calls = 0

    def loss(self, scores, labels):
        Net.calls += 1
        return functional.cross_entropy(scores, labels) * (float("nan") if Net.calls > 30 else 1)

def net(**sizes):
    return Net(**sizes)
"""


def stopped(digits_checkpoint: Path, out: Path, where: str = "round-02: training", count: int = 0, **more: Any) -> None:
    """Leave a run that was stopped at a step, in its second round if nothing else is said."""

    class StoppedError(Exception):
        """What stops it."""

    def progress(step: str, done: int = 0, total: int | None = None) -> None:
        if step.startswith(where) and done >= count:
            raise StoppedError

    with pytest.raises(StoppedError):
        compress(digits_checkpoint, out, progress=progress, **more)


def test_a_training_by_a_ratio_goes_on_too(digits_checkpoint: Path, tmp_path: Path) -> None:
    """Stopped in its third epoch and resumed, it ends with the network of one that was not."""
    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    compress(digits_checkpoint, whole, Uniform(0.5))
    stopped(digits_checkpoint, out, "final-01: training", 45, how=Uniform(0.5))
    steps: list[int] = []

    def progress(step: str, done: int = 0, total: int | None = None) -> None:
        steps.extend([done] * step.startswith("final-01: training"))

    compress(digits_checkpoint, out, Uniform(0.5), resume=True, progress=progress)
    assert same(out, whole)
    assert min(steps) > 19  # at the end of the first epoch


def test_layers_that_went_stay_out(tmp_path: Path) -> None:
    """Blocks that go whole, filters cut later, and the training: the checkpoint rebuilds what came of it."""
    network = build("edgecnn:resnet20", classes=10, channels=1)
    rounds = (Round({"layer1.1": 1.0, "layer2.2": 1.0}), Round({"layer1.0.conv1": 0.5, "layer3.1": 1.0}, 1))
    plan = Plan("resnet20", layers_of(network), TrainingSettings(validation_split=0.5), rounds)
    plan.write(tmp_path / "plan.toml")
    out = tmp_path / "short.safetensors"
    plain = Normalization()
    found = compress_model(
        "edgecnn:resnet20", out, tmp_path / "plan.toml", data=DataSource("digits", normalization=plain)
    )
    checkpoint = Checkpoint.read(out)
    assert checkpoint is not None
    assert sorted(checkpoint.removed) == ["layer1.1", "layer2.2", "layer3.1"]
    rebuilt = build(str(out)).module
    assert rebuilt.get_submodule("layer1.0.conv1").weight.shape == (8, 16, 3, 3)
    size = size_of(rebuilt, (1, 8, 8))
    assert (size.params, size.macs) == (found.after.params, found.after.macs)
    assert found.after.macs < 0.7 * found.before.macs


def test_a_run_that_is_there_is_not_written_over(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The folder of a stopped run is neither ignored nor mixed up: the line names both ways out."""
    out = tmp_path / "small.safetensors"
    stopped(digits_checkpoint, out)
    with pytest.raises(EdgecnnError, match=r"continue it with --resume, or delete it to start over"):
        compress(digits_checkpoint, out)
    with pytest.raises(EdgecnnError, match=r"another run, with learning_rate 0\.003, not 0\.01"):
        compress(digits_checkpoint, out, resume=True, training=Training(epochs=3, learning_rate=0.01))
    with pytest.raises(EdgecnnError, match="another run, with network "):
        compress_model("edgecnn:digits-cnn", out, GOAL, data="digits", resume=True, training=SHORT)
    (tmp_path / "small.safetensors.run" / "run.json").write_text("{")
    with pytest.raises(EdgecnnError, match=r"run\.json: not JSON: .*delete .* to start anew"):
        compress(digits_checkpoint, out, resume=True)


def test_without_a_run_there_is_nothing_to_resume(digits_checkpoint: Path, tmp_path: Path) -> None:
    """A wrong name of the result is told rather than started from nothing."""
    with pytest.raises(EdgecnnError, match=r"nothing to resume.*leave out --resume"):
        compress(digits_checkpoint, tmp_path / "other.safetensors", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_keeps_the_last_good_network(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that diverges stops the run; the line names the network of the last round, which can be built."""
    (tmp_path / "mynet.py").write_text(DIVERGING)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "small.safetensors"
    with pytest.raises(EdgecnnError, match=r"round-02: the loss became nan in epoch 1.*kept as .*round-01") as caught:
        compress_model("mynet:net", out, Budget(max_macs_ratio=0.4), data="digits", weights=digits_checkpoint)
    assert "\n" not in str(caught.value)
    kept = tmp_path / "small.safetensors.run" / "round-01.safetensors"
    assert str(caught.value).endswith(f"; to run with other settings, delete '{kept.parent}' or write to another file")
    assert np.isfinite(build("mynet:net", weights=kept).outputs(np.zeros((1, 1, 8, 8), np.float32))[0]).all()


def test_a_training_that_diverges_late_keeps_its_last_whole_epoch(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs that were good are not lost with the one that was not: they are a file that a new run starts from."""
    (tmp_path / "lately.py").write_text(DIVERGING)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "trained.safetensors"
    settings: dict[str, Any] = {"data": "digits", "training": SHORT, "how": Uniform(0)}
    with pytest.raises(EdgecnnError, match=r"the loss became nan in epoch 2.*kept as .*final-00\.good\.safetensors"):
        compress_model("lately:net", out, weights=digits_checkpoint, **settings)
    kept = tmp_path / "trained.safetensors.run" / "final-00.good.safetensors"
    checkpoint = Checkpoint.read(kept)
    assert checkpoint is not None
    assert checkpoint.normalization == open_dataset("digits").normalization
    settings["training"] = Training(epochs=0)
    again = compress_model("lately:net", tmp_path / "again.safetensors", weights=kept, **settings)
    assert again.score_after.value > 0.9


def test_a_goal_that_does_not_come_nearer_is_gone_at_with_more(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where cutting 2 % of the MACs leaves the RAM as it was, the next round takes 4 %, and so on."""
    gap = Shortfall("the RAM is 2 % too small", "macs", 0.02)
    monkeypatch.setattr(
        Budget, "shortfalls", lambda budget, original, now: (gap,) if now.macs > 0.8 * original.macs else ()
    )
    found = compress(
        digits_checkpoint,
        tmp_path / "s.safetensors",
        Budget(max_macs_ratio=0.5, search=Search(epochs_between=0)),
        training=Training(epochs=0),
    )
    macs = [found.before.macs, *(one.status.macs for one in found.attempts)]
    taken = [1 - after / before for before, after in pairwise(macs)]
    assert len(taken) < 8
    assert taken[2] > 1.5 * taken[0]


def test_without_names_the_plan_knows_its_data(small: CompressResult, digits_checkpoint: Path, tmp_path: Path) -> None:
    """`compress MODEL --plan plan.toml` needs nothing else; without a plan the data are asked for."""
    assert small.plan is not None
    again = compress_model(str(digits_checkpoint), tmp_path / "again.safetensors", small.plan)
    assert same(again.path, small.path)
    with pytest.raises(EdgecnnError, match="needs a data set for training"):
        compress_model(str(digits_checkpoint), tmp_path / "x.safetensors")


def test_layers_that_cannot_be_cut_are_named(small: CompressResult) -> None:
    """The last layer's outputs are the classes."""
    assert "classifier" in [one.name for one in small.fixed]
    assert {"name", "reason"} == set(small.to_json()["fixed"][0])


def test_channels_come_in_multiples_of_what_the_device_computes_at_once(
    digits_checkpoint: Path, tmp_path: Path
) -> None:
    """The Raspberry Pi's kernels take eight; a plan written for it says so, and the filters left are so many."""
    budget = Budget(max_macs_ratio=0.6, device="rpi4")
    found = compress(
        digits_checkpoint, tmp_path / "s.safetensors", replace(budget, search=FAST), training=Training(epochs=0)
    )
    assert found.plan is not None
    assert Plan.read(found.plan).method.round_to == 8
    weights = read_weights(found.path)
    assert {
        tensor.shape[0] % 8 for name, tensor in weights.items() if name.startswith("features") and tensor.ndim == 4
    } == {0}


def test_a_full_disk_keeps_the_last_good_network(
    small: CompressResult, digits_checkpoint: Path, tmp_path: Path
) -> None:
    """Where a file cannot be written whole, the run ends in one line, and goes on from there once it can."""
    out = tmp_path / "small.safetensors"
    stopped(digits_checkpoint, out)
    goals = ["--max-drop", "4", "--macs", "0.4", "--epochs", "3"]
    run = program(FULL, "compress", digits_checkpoint, "--data", "digits", *goals, "-o", out, "--resume")
    assert run.returncode == 2
    (line,) = messages(run.stderr)
    assert line.startswith("edgecnn: file too large at ")
    assert not out.exists()
    compress(digits_checkpoint, out, resume=True)
    assert same(out, small.path)


def test_what_cannot_be_followed_is_told_before_any_work(
    small: CompressResult, digits_checkpoint: Path, tmp_path: Path
) -> None:
    """A budget of no goal, a plan that is not there or meets other settings, a criterion that no plan can name."""
    out = tmp_path / "x.safetensors"
    with pytest.raises(EdgecnnError, match=r"small\.plan\.toml says how to train: edit it, or leave out"):
        compress(digits_checkpoint, out, small.plan, training=SHORT)
    with pytest.raises(EdgecnnError, match="how is a Uniform, a Sparsity, a Budget, a Plan or a plan's path"):
        compress(digits_checkpoint, out, 0.5)
    with pytest.raises(EdgecnnError, match="a plan names the criterion: give compress_model its name"):
        compress(digits_checkpoint, out, Uniform(0.5, torch.sum))
    with pytest.raises(EdgecnnError, match="the budget has no goal"):
        compress(digits_checkpoint, out, Budget())
    with pytest.raises(EdgecnnError, match=r"no plan at 'p\.toml'"):
        compress(digits_checkpoint, out, "p.toml")
    with pytest.raises(EdgecnnError, match="at least 0 and less than 1, not 1"):
        compress(digits_checkpoint, out, Uniform(1))


@pytest.mark.parametrize(
    ("goals", "told"),
    [
        ({"max_drop": 1.5}, "0 to 25 points, not 150"),
        ({"max_drop": 2}, "max_drop is a fraction, 0.02 for 2 points"),
        ({"max_drop": 0.5}, "0 to 25 points, not 50"),
        (
            {"max_macs_ratio": 1.0},
            "max_macs_ratio .--macs. is a fraction .* between 0 and 1, 0.5 for half, not 1",
        ),
        ({"max_params_ratio": 0.0}, "max_params_ratio .--params. is a fraction of the original.s params"),
        ({"max_macs_ratio": 40}, "not 40"),
        ({"size_bytes": 0}, "at least one byte"),
    ],
)
def test_goals_that_are_none_are_refused(goals: dict[str, Any], told: str) -> None:
    """Shares outside (0, 1) and drops of more than all are told."""
    with pytest.raises(EdgecnnError, match=told):
        Budget(**goals)


def test_data_with_other_classes_are_told(digits_checkpoint: Path, tmp_path: Path) -> None:
    """A network for ten classes is not judged by data of three."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (90, 8, 8, 1), dtype=np.uint8), np.arange(90) % 3
    np.savez(tmp_path / "three.npz", x=x, y=y)
    with pytest.raises(
        EdgecnnError,
        match=r"distinguishes 10 classes, data set 'three' has 3; use the data it was trained on, or --task none",
    ):
        compress(digits_checkpoint, tmp_path / "x.safetensors", data=f"npz:{tmp_path / 'three.npz'}")
    assert [path.name for path in tmp_path.iterdir()] == ["three.npz"]


TWO_HEADS = """
from torch import nn
from edgecnn.nets.digits_cnn import DigitsCNN

class Net(DigitsCNN):
    def forward(self, x):
        scores = super().forward(x)
        return {gives}

net = Net
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "gives",
    ["{'scores': scores}", "{'scores': scores} if self.training else scores"],
)
def test_networks_with_a_dict_are_cut(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gives: str
) -> None:
    """A dict, always or in training alone, is pruned, trained and judged like the scores in it."""
    module = tmp_path.name  # another for each, as modules stay
    (tmp_path / f"{module}.py").write_text(TWO_HEADS.replace("{gives}", gives))
    monkeypatch.syspath_prepend(tmp_path)
    result = compress_model(
        f"{module}:net",
        tmp_path / "x.safetensors",
        Uniform(0.25),
        data="digits",
        weights=digits_checkpoint,
        training=Training(epochs=2),
    )
    assert result.after.macs < 0.8 * result.before.macs
    assert result.score_after.value > 0.8


def test_a_network_of_several_outputs_needs_a_loss(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of two outputs to train by is nobody's guess, where no teacher says what both are to be."""
    module = tmp_path.name
    (tmp_path / f"{module}.py").write_text(TWO_HEADS.replace("{gives}", "(scores, scores)"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EdgecnnError, match="returns 2 tensors, and task classification has a loss for one; build it"):
        compress_model(
            f"{module}:net",
            tmp_path / "x.safetensors",
            data="digits",
            weights=digits_checkpoint,
            training=Training(epochs=1),
        )


SPECIAL = """
import torch
from torch import nn

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.LazyConv2d(16, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(10)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().flatten(1))

def lazy():
    return Lazy()

class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.jit.script(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU()))
        self.head = nn.Linear(288, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))

def half():
    return Half()

def scripted():
    return torch.jit.script(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(288, 10)))
"""


def test_layers_that_learn_their_size_from_an_input_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of lazy layers is searched like any other, and begins the same each time: its plan does it again."""
    (tmp_path / "own_lazy_net.py").write_text(SPECIAL)
    monkeypatch.syspath_prepend(tmp_path)
    goal, brief = Budget(max_macs_ratio=0.6, search=Search(epochs_between=0)), Training(epochs=1)
    found = compress_model("own_lazy_net:lazy", tmp_path / "small.safetensors", goal, data="digits", training=brief)
    assert found.unmet == ()
    again = compress_model("own_lazy_net:lazy", tmp_path / "again.safetensors", found.plan)
    assert same(again.path, found.path)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.parametrize(("name", "part"), [("scripted", "it"), ("half", "its body")])
def test_a_script_cannot_be_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, part: str) -> None:
    """TorchScript, whole or in part, is told in one line, by both that cut."""
    (tmp_path / "own_script_net.py").write_text(SPECIAL)
    monkeypatch.syspath_prepend(tmp_path)
    told = f"own_script_net-{name} cannot be cut: {part} was scripted or traced by torch.jit; give the module"
    with pytest.raises(EdgecnnError, match=told):
        compress_model(f"own_script_net:{name}", tmp_path / "x.safetensors", data="digits")
    with pytest.raises(EdgecnnError, match=told):
        measure_sensitivity(f"own_script_net:{name}", data="digits")
