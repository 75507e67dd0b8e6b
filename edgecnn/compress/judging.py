"""`Trial`: a network and changed copies of it on the same samples, as many for each copy as it is worth."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgecnn.compress.bn_recalibration import Moments, moving_statistics, noting_statistics
from edgecnn.compress.channels import Removed
from edgecnn.compress.objective import CLASSIFIER, Objective
from edgecnn.compress.prefix_cache import Calls, Recording, live_bytes, read_calls, record, replay, share
from edgecnn.errors import EdgecnnError
from edgecnn.nets.layout import runs_channels_last
from edgecnn.nets.outputs import Tensors, tensors_of
from edgecnn.normalization import Normalization, preprocess
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples
from edgecnn.tasks.task import Records

Floats = npt.NDArray[np.float64]

LOSS, ERROR = range(2)  # the rows of what a sample gave

_KEPT_BYTES = 2**28  # of results of the original, for one batch
_LARGEST_BATCH = 256
_PROBE = 2  # samples that a replay is tried on


class Trial:
    """The original and its variants; each variant has been judged on the first so many samples of one random order."""

    def __init__(
        self,
        original: nn.Module,
        variants: Iterable[nn.Module],
        samples: Samples,
        normalization: Normalization | None,
        progress: Progress = silent,
        *,
        objective: Objective = CLASSIFIER,
        first: int = 512,
        seed: int = 0,
    ) -> None:
        """Set up the stages: *first* samples, then twice as many each time, up to all.

        Raises:
            EdgecnnError: fewer than two samples, or a network whose outputs do not suit the *objective*.
        """
        if len(samples) < 2:
            raise EdgecnnError("judging a network takes at least two samples; give more data")
        self.objective = objective
        self.normalization = normalization
        self.progress = progress
        self.samples = samples.shuffled(seed)
        self.stages = [min(first, len(samples))]
        while self.stages[-1] < len(samples):
            self.stages.append(min(2 * self.stages[-1], len(samples)))
        probe = self._inputs(self.samples.indices[:_PROBE])[0]
        # The originals' and the variants' code is the same, so they run in the same order of memory.
        order = torch.channels_last if runs_channels_last(original, probe) else torch.contiguous_format
        self.original = original = copy.deepcopy(original).to(memory_format=order)
        self.calls = _calls_of(original, probe)
        self.variants: list[nn.Module] = []
        self.starts: list[int] = []
        self.without_cache: list[int] = []  # the variants whose passes are whole, as parts of them gave something else
        for variant in variants:  # one after the other, as an iterator may make them
            self.variants.append(share(original, variant.eval().to(memory_format=order)))
            self.starts.append(self._start_of(self.variants[-1], probe))
        self.scales = [1.0] * len(self.variants)  # of the scores, before they tell how sure a variant is
        self._trace = record(original, probe, self.calls, set(self.starts))
        if not all(bool(torch.isfinite(output).all()) for output in tensors_of(self._trace.output, "to judge")):
            raise EdgecnnError("the network's outputs contain NaN or infinite values; check its weights")
        self.batch_size = self._batch_size(set(self.starts))
        self._of_original: list[_Outcomes] = []
        self._of_variants: list[list[_Outcomes]] = [[] for _ in self.variants]

    def recalibrate_batch_norm(
        self,
        samples: Samples,
        removed_channels: Sequence[Removed],
        reordered: Sequence[Mapping[str, Sequence[int]]] | None = None,
    ) -> None:
        """Have what any training would mend at once follow each cut, on as many of *samples* as a batch holds.

        That is the statistics of batch norm, and the spread of class scores: a classifier that gives smaller scores is
        less sure of the same answers, which is no loss increase.

        Args:
            samples: others than those that variants are judged on; labels are not looked at.
            removed_channels: the filters that each of the variants lacks.
            reordered: of each of them, the norms whose channels are in another order, and where they were before.
        """
        # A few samples tell little of a statistic: the batch is as large as any single start allows, in several passes.
        n = min(map(self._batch_size, ({start} for start in self.starts)), default=0)
        chosen = samples.take(n, seed=3)
        x = torch.from_numpy(np.ascontiguousarray(preprocess(chosen.images[chosen.indices], self.normalization)))
        done = 0
        for starts in self._passes(n):
            with noting_statistics(self.original) as before:
                recording = record(self.original, x, self.calls, starts)
            for index in (index for index, start in enumerate(self.starts) if start in starts):
                self.progress("recalibrating batch norm", done, len(self.variants))
                behind = [name for name in before if self.calls.first.get(name, 0) >= self.starts[index]]
                moved = reordered[index] if reordered else {}
                were = before | {
                    name: _in_order(before[name], places) for name, places in moved.items() if name in before
                }
                with moving_statistics(self.variants[index], were, removed_channels[index], behind):
                    output = replay(self.variants[index], recording, self.starts[index])
                self.scales[index] = score_scale(recording.output, output)
                done += 1

    def advance(self, which: Collection[int], stage: int) -> None:
        """Judge the variants numbered in *which* on all samples up to *stage*."""
        for part in range(stage + 1):
            waiting = [index for index in which if len(self._of_variants[index]) == part]
            if waiting:
                self._judge(waiting, part)

    def n(self, variant: int) -> int:
        """Return how many samples *variant* has been judged on."""
        return self.stages[len(self._of_variants[variant]) - 1]

    def outcomes(self, variant: int) -> Floats:
        """Return what *variant* gave: [2, n], rows `LOSS` and `ERROR`."""
        return np.concatenate([part.floats for part in self._of_variants[variant]], axis=1)

    def records(self, variant: int) -> Records:
        """Return what the objective's metric makes of what *variant* gave, [n, ...]."""
        return np.concatenate([part.records for part in self._of_variants[variant]])

    def of_original(self, n: int | None = None) -> Floats:
        """Return what the original gave for the first *n* samples, likewise; None: for all that it has been run on."""
        return np.concatenate([part.floats for part in self._of_original], axis=1)[:, :n]

    def records_of_original(self, n: int | None = None) -> Records:
        """Return the records of the original's first *n* samples, likewise."""
        return np.concatenate([part.records for part in self._of_original])[:n]

    def _batch_size(self, starts: Collection[int]) -> int:
        """Return of how many samples the memory holds what passes that begin at *starts* need."""
        kept_bytes = live_bytes(self.calls, self._trace, starts) / _PROBE
        return max(1, min(_LARGEST_BATCH, int(_KEPT_BYTES / max(kept_bytes, 1))))

    def _passes(self, n: int) -> list[set[int]]:
        """Return the starts, as few parts of them as passes of the original on *n* samples can serve."""
        passes: list[set[int]] = []
        for start in sorted(set(self.starts)):
            if passes and self._batch_size({*passes[-1], start}) >= n:
                passes[-1].add(start)
            else:
                passes.append({start})
        return passes

    def _judge(self, waiting: Sequence[int], part: int) -> None:
        begin = self.stages[part - 1] if part else 0
        chosen = self.samples.indices[begin : self.stages[part]]
        starts = {self.starts[index] for index in waiting}
        of_original: list[_Outcomes] = []
        found: dict[int, list[_Outcomes]] = {index: [] for index in waiting}
        batches = range(0, len(chosen), self.batch_size)
        for done, place in enumerate(batches):
            x, y = self._inputs(chosen[place : place + self.batch_size])
            recording = record(self.original, x, self.calls, starts)
            original = tensors_of(recording.output, "to judge")
            of_original.append(_Outcomes.of(self.objective, original, original, x, y))
            for count, index in enumerate(waiting):
                output = tensors_of(replay(self.variants[index], recording, self.starts[index]), "to judge")
                found[index].append(_Outcomes.of(self.objective, output, original, x, y, self.scales[index]))
                step = f"judging {len(waiting)} cuts on up to {self.stages[part]} samples"
                self.progress(step, done * len(waiting) + count + 1, len(batches) * len(waiting))
        if part == len(self._of_original):
            self._of_original.append(_Outcomes.joined(of_original))
        for index, outcomes in found.items():
            self._of_variants[index].append(_Outcomes.joined(outcomes))

    def _start_of(self, variant: nn.Module, x: torch.Tensor) -> int:
        """Return where passes of *variant* may begin, tried on *x*; 0 where that gives not what a whole pass gives."""
        start = self.calls.start_of(self.original, variant)
        whole = replay(variant, Recording(x, x, ()), 0)
        try:
            replayed = replay(variant, record(self.original, x, self.calls, {start}), start)
            fits = _close(replayed, whole)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
            fits = False
        if fits and self.calls:
            return start
        self.without_cache.append(len(self.starts))
        return 0

    def _inputs(self, indices: npt.NDArray[np.int64]) -> tuple[torch.Tensor, Any]:
        """Return the inputs [n, ...] and targets [n, ...] (None where there are none) of the samples *indices*."""
        x = np.ascontiguousarray(preprocess(self.samples.images[indices], self.normalization))
        return torch.from_numpy(x), None if self.samples.labels is None else self.samples.labels[indices]


@dataclass(frozen=True)
class _Outcomes:
    """What n samples gave: [2, n], and the records [n, ...] of the objective's metric."""

    floats: Floats
    records: Records

    @classmethod
    def of(
        cls, objective: Objective, outputs: Tensors, original: Tensors, x: torch.Tensor, y: Any, scale: float = 1.0
    ) -> _Outcomes:
        """Judge a batch of *outputs* beside the *original*'s.

        Raises:
            EdgecnnError: outputs or targets that do not suit the objective.
        """
        records = objective.records(outputs, original, x, y)
        target = torch.from_numpy(y) if isinstance(y, np.ndarray) and y.dtype != object else y
        rows = objective.loss.each(outputs, original, x, target, scale)
        return cls(torch.stack(rows).double().numpy(), records)

    @classmethod
    def joined(cls, parts: Sequence[_Outcomes]) -> _Outcomes:
        """Return the outcomes of several batches as those of one."""
        return cls(np.concatenate([part.floats for part in parts], 1), np.concatenate([part.records for part in parts]))


def _in_order(moments: Moments, places: Sequence[int]) -> Moments:
    """Return the moments of a norm [C] whose channels were at *places*."""
    mean, var = moments
    return mean[list(places)], var[list(places)]


def _calls_of(original: nn.Module, x: torch.Tensor) -> Calls:
    """Return the calls of *original*; none where they cannot be read, and then every pass is a whole one."""
    try:
        calls = read_calls(original, x)
        recorded = record(original, x, calls, {len(calls)}).output
        # A network that writes over its tensors without taking what that gives cannot be replayed.
        return calls if _close(recorded, replay(original, Recording(x, x, ()), 0)) else Calls({}, ())
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return Calls({}, ())


def _close(a: Any, b: Any) -> bool:
    """Return whether two outputs, each of one tensor or several, are the same but for rounding."""
    first, second = (tensors_of(result, "to judge") for result in (a, b))
    return len(first) == len(second) and all(
        one.shape == other.shape
        and torch.allclose(one, other, 1e-3, 1e-4 * (1 + float(other.abs().max())), equal_nan=True)
        for one, other in zip(first, second, strict=True)
    )


def score_scale(before: Any, after: Any) -> float:
    """Return what makes the spread of the class scores *after*, of n samples, that of those *before*.

    The scores are along the second axis of the first output, [n, classes, ...].
    """
    first, second = tensors_of(before, "to judge")[0], tensors_of(after, "to judge")[0]
    if first.ndim < 2 or second.shape != first.shape or first.shape[1] < 2:
        return 1.0
    ratio = float(first.float().std(1).mean() / second.float().std(1).mean())
    return ratio if 0 < ratio < math.inf else 1.0
