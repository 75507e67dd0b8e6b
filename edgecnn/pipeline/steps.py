"""`Steps`: the cuts and trainings of one compression, each done once, however often the run is stopped in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.plan import measure_files
from edgecnn.compress.criteria import graded_for
from edgecnn.compress.dropout import dropout_in_proportion
from edgecnn.compress.magnitude import sparsify, sparsity_of, zip_size_bytes
from edgecnn.compress.masking import MaskMismatchError
from edgecnn.compress.objective import Objective
from edgecnn.compress.prune import Cut, cut, size_of
from edgecnn.compress.sensitivity import Price
from edgecnn.compress.teacher import ensemble
from edgecnn.compress.train import train
from edgecnn.compress.training_state import module_of
from edgecnn.compress.unit import Fixed, Units
from edgecnn.compress.units import find_units
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import estimate_latency
from edgecnn.evaluate.choice import size_of_input
from edgecnn.fit import check_fit
from edgecnn.locks import PrivateFolder
from edgecnn.measurement import Measurement
from edgecnn.nets.network import Network
from edgecnn.normalization import preprocess
from edgecnn.parsing import convert, from_table
from edgecnn.pipeline.budget import Budget, LatencyEstimate, MemoryUse, NetworkStatus, SparseSize
from edgecnn.pipeline.export import write_int8
from edgecnn.pipeline.judging import Parts, Validation, objective_of, records_of
from edgecnn.pipeline.latency import model_for, predict_ns
from edgecnn.pipeline.plan import TrainingSettings
from edgecnn.pipeline.run_folder import RunFolder
from edgecnn.pipeline.subject import Subject
from edgecnn.progress import Progress, with_prefix
from edgecnn.recipe import load_recipe
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import ACCURACY, Score, share
from edgecnn.tasks.task import score_of


@dataclass(frozen=True)
class State:
    """A network on its way, and what is known of it."""

    __repr__ = short_repr

    network: Network
    status: NetworkStatus
    input_shape: tuple[int, ...]  # (C, H, W)
    substitutes: tuple[str, ...]  # blocks that may take the place of its convolutions
    grade: Callable[[Network], Network]  # gives the weights the gradients that the criterion asks for

    @cached_property
    def graded(self) -> Network:
        """The network with gradients on its weights, where the criterion is one that asks for them."""
        return self.grade(self.network)

    @cached_property
    def units(self) -> Units:
        """What can be cut in the network."""
        return find_units(self.graded.module, self.input_shape, self.substitutes)

    def cut(self, cuts: Mapping[str, float], method: TrainingSettings) -> Cut:
        """Return what is left of the network without *cuts*.

        Raises:
            EdgecnnError: as `edgecnn.compress.prune.cut`.
        """
        return cut(
            self.graded.module,
            self.input_shape,
            cuts,
            criterion=method.criterion,
            round_to=method.round_to,
            units=self.units,
        )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What the steps of one compression have in common."""

    __repr__ = short_repr

    subject: Subject
    original: Network
    method: TrainingSettings
    budget: Budget
    folder: RunFolder
    parts: Parts
    name: str  # of the result
    progress: Progress
    teacher: Any  # the module that gives the scores to learn
    objective: Objective
    known: Score | None = None  # of the original on the validation part, where it was asked already
    substitutes: tuple[str, ...] = ()  # blocks that may take the place of convolutions

    @classmethod
    def of(
        cls,
        subject: Subject,
        method: TrainingSettings,
        budget: Budget,
        folder: RunFolder,
        name: str,
        progress: Progress,
        teachers: Sequence[Network] = (),
        chosen: Validation | None = None,
        substitutes: Sequence[str] = (),
    ) -> Steps:
        """Return the steps for *subject*, its data divided as *method* says.

        *chosen* has the original's answers, where it was asked before.
        """
        assert subject.network is not None
        parts = Parts.of(subject.data, method.validation_split, method.validation_from)
        objective = objective_of(subject)
        records = None if chosen is None or parts.validation is None else chosen.records(parts.validation)
        known = None if records is None else score_of(objective.metric, records)
        teacher = ensemble([teacher.module for teacher in teachers or (subject.network,)])
        checkpoint = subject.network.checkpoint
        assert checkpoint is not None
        # Every network on the way says how it is used; how accurate it is, is said of the last alone.
        described = replace(
            checkpoint,
            input_shape=subject.shape,
            normalization=subject.normalization,
            labels=subject.labels,
            accuracy=None,
            score=None,
            data=None,
            **subject.choice.to_json(size_of_input(subject.shape)),
        )
        original = replace(subject.network, checkpoint=described)
        return cls(
            subject=subject,
            original=original,
            method=method,
            budget=budget,
            folder=folder,
            parts=parts,
            name=name,
            progress=progress,
            teacher=teacher,
            objective=objective,
            known=known,
            substitutes=tuple(substitutes),
        )

    @cached_property
    def price(self) -> Price | None:
        """What predicts the latency of networks on the budget's device; None: no latency is asked for."""
        device = self.budget.latency_target()
        return None if device is None else partial(predict_ns, model_for(device))

    def start(self) -> State:
        """Return the original and what is known of it."""
        if "original" not in self.folder.steps:
            self.folder.note("original", status=_stored(self._judged(self.original)))
        return self._state(self.original, "original")

    def cut_and_tune(
        self,
        step: str,
        before: State,
        choose: Callable[[], Mapping[str, float]],
        epochs: float,
        number: int,
        *,
        sparsity: float = 0.0,
        keep_zeros: bool = False,
    ) -> State | None:
        """Return what comes of cutting *before* and training it for some *epochs*; None where there is nothing to cut.

        Args:
            step: its name in the run's folder; where that has it already, nothing is done again.
            before: where it begins.
            choose: tells the cuts.
            epochs: of training after them.
            number: of the round; the training's seed follows it.
            sparsity: share of the weights left that become 0.
            keep_zeros: whether weights that are 0 stay 0.

        Raises:
            EdgecnnError: cuts that cannot be made, or a loss that is no number.
        """
        if "cuts" not in self.folder.steps.get(step, {}):
            self.folder.note(step, cuts=dict(choose()))
        cuts = self.cuts_of(step)
        if not cuts and not sparsity:
            return None

        def shorter() -> Network:
            made = before.cut(cuts, self.method) if cuts else Cut(before.network.module)
            module = sparsify(made.module, sparsity) if sparsity else made.module
            return _with(before.network, module, made)

        return self._trained(step, shorter, epochs, number, keep_zeros)

    def finish(self, step: str, before: State, epochs: float, *, keep_zeros: bool = False) -> State:
        """Return *before*, trained for the *epochs* at the end.

        Raises:
            EdgecnnError: a loss that is no number.
        """
        return self._trained(step, lambda: before.network, epochs, 0, keep_zeros)

    def agreed(self, before: State, cuts: Mapping[str, float]) -> dict[str, float]:
        """Return those of *cuts* after which *before* gives what it gives with the same filters at zero.

        The others are noted, see `wrong`.

        Raises:
            EdgecnnError: cuts that cannot be made.
        """
        if not cuts:
            return {}  # a network that cannot be followed can still have weights set to zero
        try:
            before.cut(cuts, self.method)
        except MaskMismatchError as error:
            self.note_wrong(error.units)
            return {name: ratio for name, ratio in cuts.items() if name not in error.units}
        return dict(cuts)

    def note_wrong(self, units: Mapping[str, str]) -> None:
        """Note *units* that must not be cut, and why."""
        if units:
            self.folder.note("original", wrong={**self.folder.steps["original"].get("wrong", {}), **units})

    @property
    def wrong(self) -> tuple[Fixed, ...]:
        """The units whose cuts were found not to give what their masks give, and why."""
        return tuple(Fixed(*one) for one in self.folder.steps["original"].get("wrong", {}).items())

    def cuts_of(self, step: str) -> dict[str, float]:
        """Return the cuts of a step that has been decided on."""
        return dict(self.folder.steps[step]["cuts"])

    def _graded(self, network: Network) -> Network:
        criterion, normalization = self.method.criterion, self.subject.normalization
        graded = graded_for(criterion, network.module, self.parts.training, normalization, self.objective)
        return replace(network, module=graded)

    def _trained(
        self, step: str, untrained: Callable[[], Network], epochs: float, number: int, keep_zeros: bool
    ) -> State:
        path = self.folder.network_file(step)
        if step not in self.folder.finished:
            network = untrained()
            kept = self.folder.training_file(step)
            try:
                with dropout_in_proportion(network.module, self._as_designed, self._example):
                    module = train(
                        network.module,
                        self.parts.training,
                        self.method.training(epochs, number, keep_zeros=keep_zeros),
                        self.subject.normalization,
                        with_prefix(self.progress, step),
                        teacher=self.teacher if self.method.teacher_weight else None,
                        state=kept,
                        objective=self.objective,
                    )
                network = replace(network, module=module)
                status = self._judged(network)
            except EdgecnnError as error:
                raise EdgecnnError(f"{step}: {error}; {self._last_good(step, network)}") from None
            assert network.checkpoint is not None
            network.checkpoint.save(path, module)
            rebuilt = {"removed": list(network.checkpoint.removed), "substituted": dict(network.checkpoint.substituted)}
            self.folder.note(step, status=_stored(status), **rebuilt, finished=True)
            kept.unlink(missing_ok=True)
        # Read again even where it is at hand: what goes on from here is the same after a stop.
        return self.load(step)

    @cached_property
    def _as_designed(self) -> Any:
        """The module that the factory builds, before any cut: the original may be what an earlier compression left."""
        return self.original.as_designed()

    @property
    def _example(self) -> npt.NDArray[np.float32]:
        """An input [1, ...] of the network."""
        return preprocess(next(iter(self.parts.training.take(1))).x, self.subject.normalization)

    def load(self, step: str) -> State:
        """Return what a finished *step* ended with."""
        facts = self.folder.steps[step]
        checkpoint = self.original.checkpoint
        assert checkpoint is not None
        removed, substituted = tuple(facts.get("removed", ())), dict(facts.get("substituted", {}))
        checkpoint = replace(checkpoint, removed=removed, substituted=substituted)
        module = checkpoint.rebuild(self.folder.network_file(step), self.original.as_designed())
        network = replace(self.original, module=module, checkpoint=checkpoint)
        return self._state(network, step)

    def _state(self, network: Network, step: str) -> State:
        return State(network, self._status(step), self.subject.shape, self.substitutes, self._graded)

    def _status(self, step: str) -> NetworkStatus:
        """Return what the journal says of the network that *step* ended with."""
        where = f"{self.folder.path}: {step}.status"
        status = dict(convert(Mapping[str, Any], self.folder.steps[step].get("status"), where))
        score, accuracy = status.pop("score", None), status.pop("accuracy", None)
        if score is not None:
            status_score: Score | None = Score.from_json(score, f"{where}.score")
        else:  # of an earlier version, which kept counts
            status_score = None if accuracy is None else share(ACCURACY, accuracy["correct"], accuracy["n"])
        return replace(from_table(NetworkStatus, status, where), score=status_score)

    def sparse_size(self, network: Network) -> SparseSize:
        """Return what the zeros in *network* save in its w8a8 TFLite file: nothing, until it is compressed."""
        subject = replace(self.subject, name=self.name, network=network)
        with PrivateFolder(self.folder.path) as folder:
            file = write_int8(subject, load_recipe("board"), Path(folder), self.progress)
            return SparseSize(sparsity_of(network.module), file.size_bytes, zip_size_bytes(file.path))

    def _last_good(self, step: str, network: Network) -> str:
        """Return what there is to go on with where training *network* failed; its last whole epoch is made a file."""
        kept, path = self.folder.training_file(step), self.folder.network_file(f"{step}.good")
        if kept.is_file():
            assert network.checkpoint is not None
            network.checkpoint.save(path, module_of(kept, network.module))
        elif self.folder.finished:
            path = self.folder.network_file(self.folder.finished[-1])
        else:
            return "nothing was written yet; the original network is unchanged"
        return f"the last good network is kept as {path}: give it as MODEL to a new run"

    def _judged(self, network: Network) -> NetworkStatus:
        """Return what is known of *network*: judged on the validation part, exported where the budget asks for it."""
        size = size_of(network.module, self.subject.shape)
        score = self.known if network is self.original else None
        if score is None and self.parts.validation is not None:
            self.progress("judging on the validation part")
            judged = self.subject.network if network is self.original else network
            assert judged is not None
            metric = self.objective.metric
            score = score_of(metric, records_of(self.subject, judged, self.parts.validation, metric))
        # The journal keeps the figures; what each class or pixel had is not needed again.
        status = NetworkStatus(size.params, size.macs, score and replace(score, details=_kept(score)))
        return self._with_file(network, status) if self.budget.needs_file else status

    def measured(self, network: Network, target: str) -> Measurement:
        """Return what the w8a8 TFLite file of *network* takes on *target*, one thread.

        Raises:
            EdgecnnError: as `measure`.
        """
        device = self.budget.fast_on
        assert device is not None
        with PrivateFolder(self.folder.path) as folder:
            file = self._int8_file(network, Path(folder))
            return next(measure_files([file], device=device, target=target, progress=self.progress))

    def _int8_file(self, network: Network, folder: Path) -> Artifact:
        devices = (self.budget.target(), self.budget.latency_target())
        is_micro = any(one is not None and one.kind == "mcu" for one in devices)
        subject = replace(self.subject, name=self.name, network=network)
        return write_int8(subject, load_recipe("mcu" if is_micro else "board"), folder, self.progress)

    def _with_file(self, network: Network, status: NetworkStatus) -> NetworkStatus:
        device, fast_on = self.budget.target(), self.budget.latency_target()
        with PrivateFolder(self.folder.path) as folder:
            file = self._int8_file(network, Path(folder))
            status = replace(status, size_bytes=file.size_bytes)
            if fast_on is not None:
                found = estimate_latency(file.path, fast_on)
                latency = LatencyEstimate(found.p50_ns, found.low_ns, found.high_ns, fast_on.name)
                status = replace(status, latency=latency)
            if device is None:
                return status
            report = check_fit(file.path, device)
        if report.unsupported_operators:
            raise EdgecnnError(
                f"{device.name} does not run {', '.join(report.unsupported_operators)}, and pruning does not remove "
                f"them; choose another device or network"
            )
        uses = tuple(MemoryUse(region.name, region.used_bytes, region.limit_bytes) for region in report.regions)
        return replace(status, memory=uses)


def _with(network: Network, module: Any, made: Cut) -> Network:
    """Return *network* with another *module*, from which layers went as *made* has it."""
    checkpoint = network.checkpoint
    assert checkpoint is not None
    removed, substituted = (*checkpoint.removed, *made.removed), {**checkpoint.substituted, **made.substituted}
    checkpoint = replace(checkpoint, removed=removed, substituted=substituted)
    return replace(network, module=module, checkpoint=checkpoint)


def _kept(score: Score) -> dict[str, Any]:
    """Return the details of *score* that its JSON has."""
    return {key: value for key, value in score.details.items() if key in ("classes", "chance", "class_offset")}


def _stored(status: NetworkStatus) -> dict[str, Any]:
    memory = [asdict(use) for use in status.memory]
    return asdict(status) | {"memory": memory, "score": None if status.score is None else status.score.to_json()}
