"""`Trial`: a network and changed copies of it on the same samples, as many for each copy as it is worth."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from edgecnn.compress.bn_recalibration import moving_statistics, noting_statistics
from edgecnn.compress.channels import Removed
from edgecnn.compress.objective import RECONSTRUCTION, check_scores, task_of
from edgecnn.compress.prefix_cache import Calls, Recording, live_bytes, read_calls, record, replay, share
from edgecnn.errors import EdgecnnError
from edgecnn.nets.layout import runs_channels_last
from edgecnn.normalization import Normalization, preprocess
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples

Floats = npt.NDArray[np.float64]

LOSS, ERROR_PROBABILITY, CORRECT = range(3)  # the rows of what a sample gave

_KEPT_BYTES = 2**28  # of results of the original, for one batch
_LARGEST_BATCH = 256
_PROBE = 2  # samples that a replay is tried on
_WORST_LOSS = 100.0  # nats, in place of an infinity or a NaN


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
        first: int = 512,
        seed: int = 0,
    ) -> None:
        """Set up the stages: *first* samples, then twice as many each time, up to all.

        Raises:
            EdgecnnError: fewer than two samples, or a network whose outputs for them can not be judged: nothing says as
                what, or they are something else.
        """
        if len(samples) < 2:
            raise EdgecnnError("judging a network takes at least two samples; give more data")
        self.task = task_of(original, labelled=samples.labels is not None)
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
        if not isinstance(self._trace.output, torch.Tensor):
            raise EdgecnnError(
                f"the network gives a {type(self._trace.output).__name__}, not one tensor; wrap it in a module that "
                f"returns only its scores"
            )
        if not torch.isfinite(self._trace.output).all():
            raise EdgecnnError("the network's outputs contain NaN or infinite values; check its weights")
        self.batch_size = self._batch_size(set(self.starts))
        self._of_original: list[Floats] = []
        self._of_variants: list[list[Floats]] = [[] for _ in self.variants]

    def recalibrate_batch_norm(self, samples: Samples, removed_channels: Sequence[Removed]) -> None:
        """Have what any training would mend at once follow each cut, on as many of *samples* as a batch holds.

        That is the statistics of batch norm, and the spread of class scores: a classifier that gives smaller scores is
        less sure of the same answers, which is no loss increase.

        Args:
            samples: others than those that variants are judged on; labels are not looked at.
            removed_channels: the filters that each of the variants lacks.
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
                self.progress("settling cuts", done, len(self.variants))
                behind = [name for name in before if self.calls.first.get(name, 0) >= self.starts[index]]
                with moving_statistics(self.variants[index], before, removed_channels[index], behind):
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
        """Return what *variant* gave: [3, n], rows `LOSS`, `ERROR_PROBABILITY` and `CORRECT`.

        `CORRECT` is NaN where nothing is classified.
        """
        return np.concatenate(self._of_variants[variant], axis=1)

    def of_original(self, n: int | None = None) -> Floats:
        """Return what the original gave for the first *n* samples, likewise; None: for all that it has been run on."""
        return np.concatenate(self._of_original, axis=1)[:, :n]

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
        of_original: list[Floats] = []
        found: dict[int, list[Floats]] = {index: [] for index in waiting}
        batches = range(0, len(chosen), self.batch_size)
        for done, place in enumerate(batches):
            x, y = self._inputs(chosen[place : place + self.batch_size])
            recording = record(self.original, x, self.calls, starts)
            of_original.append(_outcomes(recording.output, x, y, self.task))
            for count, index in enumerate(waiting):
                output = replay(self.variants[index], recording, self.starts[index])
                found[index].append(_outcomes(output, x, y, self.task, self.scales[index]))
                step = f"judging {len(waiting)} cuts on up to {self.stages[part]} samples"
                self.progress(step, done * len(waiting) + count + 1, len(batches) * len(waiting))
        if part == len(self._of_original):
            self._of_original.append(np.concatenate(of_original, axis=1))
        for index, outcomes in found.items():
            self._of_variants[index].append(np.concatenate(outcomes, axis=1))

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

    def _inputs(self, indices: npt.NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs [n, ...] and labels [n] (-1 where there are none) of the samples numbered *indices*."""
        x = np.ascontiguousarray(preprocess(self.samples.images[indices], self.normalization))
        labels = np.full(len(indices), -1) if self.samples.labels is None else self.samples.labels[indices]
        return torch.from_numpy(x), torch.from_numpy(labels)


def _calls_of(original: nn.Module, x: torch.Tensor) -> Calls:
    """Return the calls of *original*; none where they cannot be read, and then every pass is a whole one."""
    try:
        calls = read_calls(original, x)
        recorded = record(original, x, calls, {len(calls)}).output
        # A network that writes over its tensors without taking what that gives cannot be replayed.
        return calls if _close(recorded, replay(original, Recording(x, x, ()), 0)) else Calls({}, ())
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return Calls({}, ())


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    tolerance = 1e-4 * (1 + float(b.abs().max()))
    return a.shape == b.shape and torch.allclose(a, b, 1e-3, tolerance, equal_nan=True)


def score_scale(before: torch.Tensor, after: torch.Tensor) -> float:
    """Return what makes the spread of the scores *after* [n, classes] that of those *before*."""
    if before.ndim != 2 or after.shape != before.shape or before.shape[1] < 2:
        return 1.0
    ratio = float(before.float().std(1).mean() / after.float().std(1).mean())
    return ratio if 0 < ratio < math.inf else 1.0


def _outcomes(output: torch.Tensor, x: torch.Tensor, y: torch.Tensor, task: str, scale: float = 1.0) -> Floats:
    """Return what each sample gave: [3, n], rows `LOSS`, `ERROR_PROBABILITY`, `CORRECT`.

    Of a classifier: the cross entropy, 1 less the probability given to the right class by the scores times *scale*, and
    whether that class is the answer.
    Of a network that gives back its input: the mean squared error, the same as a share of the input's own mean square,
    and NaN.

    Raises:
        EdgecnnError: the output is not what *task* asks for.
    """
    output = output.float()
    if task == RECONSTRUCTION:
        if output[0].numel() != x[0].numel():
            raise EdgecnnError(
                f"the network declares that it reconstructs its input {list(x.shape[1:])}, and gives "
                f"{list(output.shape[1:])}"
            )
        squares = (output.flatten(1) - x.flatten(1)).square().mean(1).nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS)
        energy = x.flatten(1).square().mean(1).clamp_min(1e-12)
        return torch.stack([squares, squares / energy, torch.full_like(squares, torch.nan)]).double().numpy()
    check_scores(tuple(output.shape))
    if int(y.max()) >= output.shape[1]:
        raise EdgecnnError(
            f"the network gives {output.shape[1]} class scores, the data has classes up to {int(y.max())}; "
            "use the data set it was trained on"
        )
    loss, scaled = (
        functional.cross_entropy(scores, y, reduction="none").nan_to_num(_WORST_LOSS, posinf=_WORST_LOSS)
        for scores in (output, scale * output)
    )
    return torch.stack([loss, 1 - scaled.neg().exp(), (output.argmax(1) == y).float()]).double().numpy()
