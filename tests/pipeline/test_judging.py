"""Cuts are chosen by samples that the network does not know, and judged at the end by others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgecnn.checkpoint import Checkpoint
from edgecnn.datasets import in_memory
from edgecnn.errors import EdgecnnError
from edgecnn.pipeline import (
    Budget,
    CompressResult,
    Plan,
    Search,
    Training,
    Uniform,
    compress_model,
    measure_sensitivity,
)
from edgecnn.pipeline.judging import Parts, is_better, verdict
from edgecnn.pipeline.plan import EVALUATION, TRAINING
from edgecnn.samples import Samples
from edgecnn.tasks.classification import Top1
from edgecnn.tasks.score import Score, accuracy_to_json, share


def correct(right: int, n: int) -> np.ndarray:
    """Return the records of *n* answers of which the first *right* are."""
    labels = np.zeros(n, np.int64)
    return np.stack([labels, np.arange(n) >= right, labels - 1, labels + 2], axis=1)


@pytest.mark.parametrize(
    ("known", "unseen", "by_heart"),
    [
        (share("accuracy", 4989, 5000), share("accuracy", 9173, 10000), True),  # ResNet-20 of CIFAR-10
        (share("accuracy", 126, 126), share("accuracy", 531, 539), False),  # digits: a hundred samples do not tell
        (share("accuracy", 4600, 5000), share("accuracy", 9173, 10000), False),
        (share("accuracy", 4000, 5000), share("accuracy", 9173, 10000), False),
    ],
)
def test_by_heart_is_what_chance_does_not_explain(known: Score, unseen: Score, by_heart: bool) -> None:
    """A part that is known better by more than both intervals allow was trained on."""
    assert is_better(known, unseen) == by_heart


def test_the_parts_share_no_sample() -> None:
    """What is trained on, chosen by and judged by at the end are different samples, of whichever part they come."""
    images = np.arange(300, dtype=np.float32).reshape(300, 1)
    whole = Samples.of(images, np.arange(300) % 3)
    training, evaluation = whole.split(0.4)
    data = in_memory("d", training, evaluation, None, ("a", "b", "c"))
    for part, sizes in ((TRAINING, (162, 18, 120)), (EVALUATION, (180, 60, 60))):
        parts = Parts.of(data, 0.1 if part == TRAINING else 0.5, part)
        assert parts.validation is not None
        chosen = [set(s.indices) for s in (parts.training, parts.validation, parts.evaluation)]
        assert tuple(map(len, chosen)) == sizes
        assert len(set.union(*chosen)) == sum(sizes)
    with pytest.raises(EdgecnnError, match="too small to set aside 10 %"):
        Parts.of(in_memory("d", training.take(3), evaluation, None, ("a", "b", "c")), 0.1, TRAINING)


@pytest.mark.parametrize(
    ("after", "missed", "told"),
    [
        (9200, False, False),  # 0.5 points of 1.0
        (9140, False, True),  # 1.1 points, within chance
        (8894, True, True),  # 3.6 points
    ],
)
def test_a_drop_that_is_broken_is_told(after: int, missed: bool, told: bool) -> None:
    """Beyond the interval of the paired difference it is a goal missed, within it a note."""
    found = verdict(Top1(), correct(9250, 10000), correct(after, 10000), Budget(max_drop=0.01))
    assert found.lost.mean == pytest.approx((9250 - after) / 10000)
    assert found.lost.low < found.lost.mean < found.lost.high
    assert bool(found.unmet) == missed
    assert bool(found.unmet or found.notes) == told
    assert all("10000 evaluation samples not used for choosing" in text for text in (*found.unmet, *found.notes))


def test_a_reference_is_what_the_drop_is_counted_from() -> None:
    """The user's own figure decides, by the interval of the result's accuracy."""
    before, after = correct(900, 1000), correct(890, 1000)
    assert verdict(Top1(), before, after, Budget(max_drop=0.01, reference=0.95)).unmet
    assert not verdict(Top1(), correct(950, 1000), after, Budget(max_drop=0.01, reference=0.90)).unmet


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A network that overfits its training data, a third of whose labels are wrong; and that data."""
    folder = tmp_path_factory.mktemp("heart")
    rng = np.random.default_rng(0)
    y = np.arange(1200) % 4
    x = rng.normal(size=(1200, 1, 8, 8)).astype(np.float32)
    x[np.arange(1200), 0, 0, y] += 6
    wrong = rng.random(1200) < 0.3
    y = np.where(wrong, rng.integers(0, 4, 1200), y)
    np.savez(folder / "noisy.npz", x=x, y=y)
    data = f"npz:{folder / 'noisy.npz'}"
    net = folder / "heart.safetensors"
    compress_model("edgecnn:digits-cnn", net, Uniform(0), data=data, training=Training(epochs=25, learning_rate=6e-3))
    return net, data


@pytest.fixture(scope="module")
def small(learned: tuple[Path, str]) -> CompressResult:
    """That network with nine tenths of its MACs."""
    net, data = learned
    search = Search(epochs_between=0, ratios=(0.5,))
    return compress_model(
        str(net),
        net.with_name("s.safetensors"),
        Budget(max_macs_ratio=0.9, search=search),
        data=data,
        training=Training(epochs=0),
    )


def test_a_part_that_is_known_by_heart_judges_nothing(small: CompressResult) -> None:
    """Half of the evaluation part is chosen by; the figures are of the other half; text, JSON, plan and file say so."""
    assert small.before.score is not None
    assert small.before.score.n + small.score_before.n == 240
    assert small.score_before.n == small.score_after.n
    assert small.score_before.value < 0.9
    assert any("it was trained on them" in text and "on the evaluation part" in text for text in small.warnings)
    document = json.loads(json.dumps(small.to_json()))
    assert document["judged_by"]["part"] == EVALUATION
    assert document["accuracy"]["lost"]["mean"] == pytest.approx(
        document["accuracy"]["before"]["top1"] - document["accuracy"]["after"]["top1"]
    )
    assert small.plan is not None
    method = Plan.read(small.plan).method
    assert (method.validation_split, method.validation_from) == (0.5, EVALUATION)
    checkpoint = Checkpoint.read(small.path)
    assert checkpoint is not None
    assert checkpoint.accuracy == accuracy_to_json(small.score_after)
    assert [step["judged_by"] for step in checkpoint.history if step["step"] == "prune"][-1]["part"] == EVALUATION


def test_what_chose_once_never_gives_a_final_figure(learned: tuple[Path, str], small: CompressResult) -> None:
    """Another compression of the result keeps to the same halves, and so does the plan."""
    _, data = learned
    again = compress_model(
        str(small.path),
        small.path.with_name("again.safetensors"),
        Budget(max_macs_ratio=0.9, search=Search(epochs_between=0, ratios=(0.5,))),
        data=data,
        training=Training(epochs=0),
    )
    assert again.score_before == small.score_after
    assert any("an earlier compression used half" in text for text in again.warnings)
    plain = compress_model(
        str(small.path), small.path.with_name("plain.safetensors"), Uniform(0), data=data, training=Training(epochs=0)
    )
    assert plain.score_before == small.score_after
    done = compress_model(str(learned[0]), small.path.with_name("done.safetensors"), small.plan, data=data)
    assert done.score_after == small.score_after


def test_sensitivity_is_judged_by_the_unseen(learned: tuple[Path, str]) -> None:
    """The rows are of the half of the evaluation part, and a note says why."""
    net, data = learned
    found = measure_sensitivity(str(net), data=data, ratios=(0.5,))
    assert found.score is not None
    assert found.score.value < 0.9
    assert found.n == 120
    assert any("it was trained on them" in note for note in found.notes)


def test_a_broken_drop_is_a_goal_missed(learned: tuple[Path, str], small: CompressResult) -> None:
    """Where the reference lets a cut pass that the unseen samples do not, the result says so."""
    net, data = learned
    found = compress_model(
        str(net),
        small.path.with_name("broken.safetensors"),
        Budget(max_drop=0.01, max_macs_ratio=0.5, search=Search(epochs_between=0), reference=0.99),
        data=data,
        training=Training(epochs=0),
    )
    assert any("evaluation samples not used for choosing" in text for text in found.unmet)


def test_a_network_that_is_as_it_was_lost_nothing_for_certain() -> None:
    """No interval, and no word on few samples; another network with the same answers has both."""
    answers = correct(90, 100)
    same = verdict(Top1(), answers, answers, Budget(max_drop=0.01))
    assert (same.lost.low, same.lost.mean, same.lost.high) == (0.0, 0.0, 0.0)
    assert not same.notes
    other = verdict(Top1(), answers, answers.copy(), Budget(max_drop=0.01))
    assert other.lost.low < 0 < other.lost.high
    assert other.notes
