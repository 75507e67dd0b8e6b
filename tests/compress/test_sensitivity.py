"""Sensitivity: what each cut loses and saves, on no more samples than the ranking takes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.compress.judging import ERROR, LOSS, Trial
from edgecnn.compress.objective import Objective
from edgecnn.compress.ranking import spearman
from edgecnn.compress.sensitivity import Candidate, Sensitivity, SensitivityConfig, judge
from edgecnn.datasets import Dataset
from edgecnn.errors import EdgecnnError
from edgecnn.samples import Samples
from edgecnn.tasks import load_task
from edgecnn.tasks.classification import Top1

SHAPE = (1, 8, 8)
TOP1 = Top1()
LAYERS = ("features.0", "features.4", "features.8")


def without_filters(module: nn.Module, layer: str, count: int) -> nn.Module:
    """Return a copy whose *layer* has its first *count* filters set to zero, batch norm and all."""
    masked = copy.deepcopy(module)
    stem, _, index = layer.rpartition(".")
    for name in (layer, f"{stem}.{int(index) + 1}"):
        for parameter in masked.get_submodule(name).parameters():
            with torch.no_grad():
                parameter[:count] = 0
    return masked


def candidates(module: nn.Module, counts: tuple[int, ...] = (2, 8, 16, 28)) -> Iterator[Candidate]:
    """Yield the network without some filters of each of its convolutions."""
    for layer in LAYERS:
        for count in counts:
            yield Candidate(layer, "filters", count / 100, without_filters(module, layer, count))


def judged(module: nn.Module, data: Dataset, found: Iterator[Candidate], config: SensitivityConfig) -> Sensitivity:
    """Return the rows of *found* on the digits' training part."""
    return judge(module, SHAPE, found, data.training, config, data.normalization)


def test_outcomes_are_those_of_whole_passes(digits: nn.Module, data: Dataset) -> None:
    """Loss, accuracy and the right class's probability of each variant are what running it whole gives."""
    variants = [candidate.module for candidate in candidates(digits)]
    trial = Trial(digits, variants, data.training, data.normalization, first=100)
    trial.advance(range(len(variants)), 1)
    assert data.normalization is not None
    indices = trial.samples.indices[:200]
    assert data.training.labels is not None
    x, y = torch.from_numpy(data.normalization.apply(data.training.images[indices])), data.training.labels[indices]
    for index, variant in enumerate(variants):
        with torch.no_grad():
            logits = variant(x).double()
        told = logits.log_softmax(1)[torch.arange(200), torch.from_numpy(y)].numpy()
        found = trial.outcomes(index)
        assert trial.n(index) == 200
        np.testing.assert_allclose(found[LOSS], -told, atol=1e-4)
        np.testing.assert_allclose(found[ERROR], 1 - np.exp(told), atol=1e-4)
        assert (TOP1.correct(trial.records(index)) == (logits.argmax(1).numpy() == y)).all()
    assert not trial.without_cache
    assert len(set(trial.starts)) == len(LAYERS)


def test_a_network_may_write_over_its_input(digits: nn.Module, data: Dataset) -> None:
    """What one variant did to its samples is not what the next one sees: copies of one network come out alike."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(digits)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.mul(x, 0.5, out=x)  # unlike `x *= 0.5`, this is not replayed: passes are whole
            return self.inner(x)  # type: ignore[no-any-return]

    net = Scaled()
    changed = [copy.deepcopy(net) for _ in range(3)]
    for variant in changed:
        variant.inner = without_filters(variant.inner, LAYERS[0], 8)
    trial = Trial(net, changed, data.training, data.normalization, first=64)
    trial.advance(range(3), 0)
    assert set(trial.starts) == {0}
    for index in (1, 2):
        np.testing.assert_array_equal(trial.outcomes(index), trial.outcomes(0))


def test_samples_of_one_stage_are_the_first_of_the_next(digits: nn.Module, data: Dataset) -> None:
    """A variant that waits and goes on later is judged on the same samples as one that never waited."""
    variants = [candidate.module for candidate in candidates(digits, (8,))]
    patient, eager = (Trial(digits, variants, data.training, data.normalization, first=64) for _ in range(2))
    patient.advance([0], 0)
    patient.advance([1], 2)
    patient.advance([0], 2)
    eager.advance([0, 1], 2)
    for index in (0, 1):
        np.testing.assert_array_equal(patient.outcomes(index), eager.outcomes(index))
    np.testing.assert_array_equal(patient.of_original(), eager.of_original())


def test_fewer_samples_rank_like_all(digits: nn.Module, data: Dataset) -> None:
    """The staged ranking agrees with the one of all samples, and takes fewer."""
    few = judged(digits, data, candidates(digits), SensitivityConfig(first=128, agreement=0.95))
    every = judged(digits, data, candidates(digits), SensitivityConfig(agreement=1))
    assert all(row.n == len(data.training) for row in every.rows)
    assert sum(row.n for row in few.rows) < sum(row.n for row in every.rows)
    cost_benefits = [np.array([found.cost_benefit(row) for row in found.rows]) for found in (few, every)]
    # Masked networks are as large as the original: nothing is saved, so loss increase itself is compared.
    assert all(np.isinf(cost_benefit).all() for cost_benefit in cost_benefits)
    loss_increases = [np.array([row.loss_increase.mean for row in found.rows]) for found in (few, every)]
    assert spearman(*loss_increases) > 0.9


def test_an_equal_network_loses_nothing_and_is_not_certain_of_it(digits: nn.Module, data: Dataset) -> None:
    """No flip among n samples still leaves an interval around nought; losing everything is seen."""
    wrecked = without_filters(digits, "features.0", 32)
    found = [Candidate("same", "filters", 0.1, copy.deepcopy(digits)), Candidate("all", "filters", 0.9, wrecked)]
    same, every = judged(digits, data, iter(found), SensitivityConfig()).rows
    assert same.score_lost.mean == 0
    assert same.score_lost.low < 0 < same.score_lost.high < 0.01
    assert same.loss_increase.mean == 0
    assert every.score.value < 0.2
    assert every.score_lost.low > 0.6
    assert every.loss_increase.low > 0.6


def test_paired_intervals_are_tighter_than_those_of_two_accuracies(digits: nn.Module, data: Dataset) -> None:
    """What a small cut loses is known better than either accuracy, the samples being the same."""
    middling, worse = (without_filters(digits, "features.0", count) for count in (16, 17))
    row = judged(middling, data, iter([Candidate("features.0", "filters", 0.1, worse)]), SensitivityConfig()).rows[0]
    low, high = row.score.interval
    apart = 2**0.5 * (high - low)  # as wide as the difference of two accuracies on samples of their own
    assert row.score_lost.high - row.score_lost.low < 0.7 * apart


def test_a_network_that_gives_back_its_input_is_judged_by_its_error(data: Dataset) -> None:
    """No labels are needed, and there is no accuracy: loss increase is the share of the input that is lost."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64, bias=False), nn.Unflatten(1, SHAPE)).eval()
    layer = net[1]
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(64))
    silent = copy.deepcopy(net)
    with torch.no_grad():
        silent[1].weight.zero_()  # type: ignore[operator,union-attr]
    samples = Samples.of(data.training.images)
    found = [Candidate("1", "filters", 0.5, silent)]
    objective = Objective.of(load_task("reconstruction"))
    result = judge(net, SHAPE, found, samples, SensitivityConfig(), data.normalization, objective=objective)
    assert (result.score.name, result.score.value) == ("energy explained", 1)
    assert result.rows[0].score.value == pytest.approx(0, abs=1e-5)
    assert result.rows[0].score_lost.mean == pytest.approx(1, abs=1e-5)
    assert result.rows[0].loss_increase.mean == pytest.approx(1, abs=1e-5)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["rows"][0]["accuracy"] is None


class BehindTheName(nn.Module):
    """Changes a tensor by a statement, which a replay cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.second = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 1, 8, 8] to [N, 10]."""
        x = self.first(x.flatten(1))
        x.mul_(0.5)
        return self.second(x)  # type: ignore[no-any-return]


def test_where_replay_fails_whole_passes_are_made_and_told(data: Dataset) -> None:
    """A network that writes behind a tensor's name is judged rightly all the same, and the notes say how."""
    torch.manual_seed(0)
    net = BehindTheName().eval()
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.second.weight[3:] = 0
    result = judged(net, data, iter([Candidate("second", "filters", 0.5, changed)]), SensitivityConfig())
    assert "whole passes for second" in result.notes[0]
    trial = Trial(net, [changed], data.training, data.normalization)
    trial.advance([0], 0)
    x = trial._inputs(trial.samples.indices[: trial.stages[0]])[0]
    with torch.no_grad():
        answers = changed(x).argmax(1).numpy()
    assert data.training.labels is not None
    right = answers == data.training.labels[trial.samples.indices[: trial.stages[0]]]
    assert (TOP1.correct(trial.records(0)) == right).all()


@pytest.mark.parametrize("ratios", [(), (0.0,), (0.5, 1.5), (-0.1,)])
def test_ratios_outside_their_range_are_refused(ratios: tuple[float, ...]) -> None:
    """A cut takes more than nothing and at most all."""
    with pytest.raises(EdgecnnError, match="above 0 and at most 1"):
        SensitivityConfig(ratios=ratios)


def test_data_of_other_classes_are_told(data: Dataset) -> None:
    """A network of three classes is not judged by ten digits."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    with pytest.raises(EdgecnnError, match=r"distinguishes 3 classes, but the data has more .label 9."):
        judged(net, data, iter([Candidate("1", "filters", 0.5, copy.deepcopy(net))]), SensitivityConfig())


def test_weights_that_are_no_numbers_are_told(data: Dataset) -> None:
    """NaN in the network ends in one line, not in a ranking."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    with torch.no_grad():
        net[1].weight.fill_(torch.nan)  # type: ignore[operator,union-attr]
    with pytest.raises(EdgecnnError, match="NaN or infinite"):
        judged(net, data, iter([Candidate("1", "filters", 0.5, copy.deepcopy(net))]), SensitivityConfig())
