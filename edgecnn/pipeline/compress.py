"""A network in, a smaller one out, as a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgecnn.benchmarks.measure import check_target
from edgecnn.compress import CRITERIA, ORDERS
from edgecnn.compress.settings import CRITERION, Sparsity, Training, Uniform
from edgecnn.datasets import Data, DataSource
from edgecnn.errors import EdgecnnError, explain_missing_packages
from edgecnn.evaluate.choice import TaskChoice, size_of_input
from edgecnn.files import check_name, check_writable, destination
from edgecnn.pipeline.budget import Budget, NetworkStatus, SparseSize
from edgecnn.pipeline.latency import model_for, shortest_ns
from edgecnn.pipeline.plan import TRAINING, Plan, Round, TrainingSettings, checked_epochs, layers_of
from edgecnn.pipeline.result import CompressResult
from edgecnn.pipeline.run_folder import RunFolder, folder_of
from edgecnn.pipeline.subject import Subject, check_outputs, load_subject, run_original
from edgecnn.progress import Progress, silent
from edgecnn.tasks.score import score_to_json
from edgecnn.units import format_ns

if TYPE_CHECKING:
    from edgecnn.compress.criteria import Criterion
    from edgecnn.compress.objective import Objective
    from edgecnn.nets.network import Model, Network
    from edgecnn.pipeline.judging import Validation
    from edgecnn.pipeline.search import SearchResult
    from edgecnn.pipeline.steps import Steps

#: What says how much goes: one of these, or the path of a plan.
How: TypeAlias = "Uniform | Sparsity | Budget | Plan | Path | str"

_PHOTOGRAPH_SIDE = 32  # pixels from which images of three channels are taken for photographs
_PHOTOGRAPH_SHIFT = 4
_SPARSITY_STEPS = 5

#: Epochs of the training at the end, where nobody says how many.
_EPOCHS = 10
#: With a goal, that training and the tunings between rounds show about so many samples at most, so that an answer comes
#: in minutes: ResNet-20 takes about 4 ms of a core for each, its teacher included. The training at the end has one
#: epoch at least.
_SAMPLES, _SAMPLES_BETWEEN = 150_000, 25_000


@explain_missing_packages()
def compress_model(
    model: Model,
    path: Path | str,
    how: How = Uniform(),  # noqa: B008 (frozen)
    *,
    data: Data | None = None,
    training: Training = Training(),  # noqa: B008 (frozen)
    task: TaskChoice | str | None = None,
    weights: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> CompressResult:
    """Make a network smaller and tune it, and write it to *path* as a `Checkpoint`, the plan of it beside.

    *how* is one of four: `Uniform`, the same fraction of each layer, and a training; `Sparsity`, to which the smallest
    weights become 0 step by step, with the original as the teacher of the trainings between; a `Budget`, within which
    the cuts that cost least are searched round by round, with the same teacher; or the `Plan` that such a run has
    written. Where a budget cannot be met, the result is the smallest network that keeps to the accuracy, and says what
    it misses.

    Cuts are chosen by a tenth of the training part, which is not trained on. A network that was trained on it already,
    as published ones were, is far more often right there than on the evaluation part: then half of the evaluation part
    is chosen by instead. The final figures are of evaluation samples that chose nothing, and where they break the drop
    beyond chance, the result says so among the goals it misses.

    Args:
        model: see `edgecnn.build`; an exported program cannot be pruned.
        path: the `.safetensors` file to write. While it goes on, a folder of that name and `.run` keeps what is done.
        how: `Uniform`, `Sparsity`, `Budget`, `Plan`, or the path of a plan. A plan says how to train as well.
        data: a data set, as `open_dataset` takes it: a name, a `Dataset`, a DataLoader, arrays or a `DataSource`; None:
            the plan's.
        training: how to train, and who teaches; beside a plan nothing but the teachers that it names.
        task: what the network does: a name in `TASKS`, or a `TaskChoice` with a metric or a decoder; None: as the
            network says, else as the data say. A task without a loss of its own is trained by the original's raw
            outputs, and where nothing says what is right, it is judged by them as well.
        weights: see `edgecnn.build`.
        resume: whether to go on with a run that was stopped.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: bad arguments, a network that cannot be rebuilt or pruned, or a loss that is no number.

    Example:
        >>> half, untrained = edgecnn.Uniform(0.5), edgecnn.Training(epochs=0)
        >>> small = edgecnn.compress_model(
        ...     "edgecnn:digits-cnn", "small.safetensors", half, data="digits", training=untrained
        ... )
        >>> small.after.params < small.before.params / 2
        True
    """
    path = Path(path)
    how = _read(how)
    if path.suffix != ".safetensors":
        raise EdgecnnError(f"{path}: a checkpoint's name ends in .safetensors")
    _check_how(how, training)
    source = DataSource.of(data)
    if source.data is None:
        if not isinstance(how, Plan) or not how.data:
            raise EdgecnnError("compress needs a data set for training: give --data")
        source = replace(source, data=how.data)
    check_writable(path)
    check_name(folder_of(path))
    destination(_plan_file(path))
    subject = load_subject(
        model,
        data=source,
        task=task,
        weights=weights,
        # Before it meets the data: of a network that the plan is not for, all else that is wrong does not matter.
        seen=partial(_check_plan, how) if isinstance(how, Plan) else None,
        in_torch=True,
    )
    network = _checked(subject, model if isinstance(model, str) else subject.name)
    from edgecnn.pipeline.teachers import described, load_teachers

    teachers = load_teachers(training.teachers, subject)
    if isinstance(how, Budget):
        how = _with_tuning(how, len(subject.data.training))
    if isinstance(how, Plan):
        _check_plan(how, network)
        how.check_teachers(described(teachers))
        plan, chosen_by = how, _validation_of(how)
    else:
        name = source.data if isinstance(source.data, str) else ""
        plan, chosen_by = _planned(how, training, subject, name, teachers, progress)
    budget = how if isinstance(how, Budget) else None
    identity = _identity(subject, network, plan, budget)
    with _kept(RunFolder.open(path, identity, resume=resume)) as folder:
        return _compressed(subject, teachers, how, plan, folder, path, chosen_by, progress)


def _read(how: How) -> Uniform | Sparsity | Budget | Plan:
    """Return *how*, a plan's file read."""
    return Plan.read(how) if isinstance(how, (str, Path)) else how


def _check_how(how: Uniform | Sparsity | Budget | Plan, training: Training) -> None:
    """See that *how* can be followed.

    Raises:
        EdgecnnError: it is something else, a budget of no goals, or names what is not known; or a plan meets settings
            of the training, which it holds itself.
    """
    if isinstance(how, Budget):
        if not how.has_goal:
            raise EdgecnnError(
                "the budget has no goal: give one of max_drop, max_macs_ratio, max_params_ratio, size_bytes, device, "
                "ram_bytes, flash_bytes and latency_ns"
            )
        ORDERS.load(how.search.order)
        how.target()
        _check_latency(how)
    elif isinstance(how, Plan) and replace(training, teachers=()) != Training():
        raise EdgecnnError(f"{how.where} says how to train: edit it, or leave out all of training but the teachers")
    elif not isinstance(how, (Uniform, Sparsity, Plan)):
        raise EdgecnnError(
            f"how is a Uniform, a Sparsity, a Budget, a Plan or a plan's path, not {type(how).__name__}: for example "
            "edgecnn.Uniform(0.5)"
        )
    criterion = _criterion_of(how)
    if not isinstance(criterion, str):
        raise EdgecnnError(
            "a plan names the criterion: give compress_model its name or 'package.module:function', not a function"
        )
    CRITERIA.load(criterion)


def _check_latency(budget: Budget) -> None:
    """See that the latency that *budget* asks for, if any, can be estimated, and reached by some network.

    Raises:
        EdgecnnError: no such device, no coefficients for it, or it takes more to run nothing.
    """
    device = budget.latency_target()
    if device is None or budget.latency_ns is None:
        return
    if budget.measured_on is not None:
        check_target(str(budget.fast_on), budget.measured_on)
    least = shortest_ns(model_for(device))
    if budget.latency_ns <= least:
        raise EdgecnnError(
            f"no network takes {format_ns(budget.latency_ns)} on {device.name}: to start one operator takes "
            f"{format_ns(least)} there; allow more"
        )


def _criterion_of(how: Uniform | Sparsity | Budget | Plan) -> str | Criterion:
    if isinstance(how, Budget):
        return how.search.criterion
    if isinstance(how, Plan):
        return how.method.criterion
    return how.criterion if isinstance(how, Uniform) else CRITERION


def _round_to_of(how: Uniform | Sparsity | Budget) -> int:
    """Return what channel counts become multiples of."""
    if isinstance(how, Uniform):
        return how.round_to
    if isinstance(how, Sparsity):
        return 1
    device, fast_on = how.target(), how.latency_target()
    at_once = [] if device is None else [device.channels_at_once]
    at_once += [] if fast_on is None else [model_for(fast_on).output_block]
    return how.search.round_to or max(at_once, default=1)


def _planned(
    how: Uniform | Sparsity | Budget,
    training: Training,
    subject: Subject,
    data: str,
    teachers: Sequence[Network],
    progress: Progress,
) -> tuple[Plan, Validation | None]:
    """Return the plan of *how*, of a budget without its rounds, which are searched; and what is chosen by.

    Args:
        how: how much is to go.
        training: how to train.
        subject: the network and its data.
        data: the name of the data, "" where they have none.
        teachers: those in the original's place.
        progress: called with the step, what is done and the total.
    """
    from edgecnn.compress.objective import Distilled
    from edgecnn.pipeline.judging import choose_validation, chosen_before, objective_of
    from edgecnn.pipeline.teachers import described

    network, objective = subject.network, objective_of(subject)
    assert network is not None
    shift, flip = _augmentation(subject, training.augment, objective)
    # Without a search there is nothing to choose.
    is_searched = isinstance(how, Budget)
    chosen_by = choose_validation(subject, objective.metric, progress) if is_searched else chosen_before(subject)
    needs_teacher = isinstance(objective.loss, Distilled) and not callable(getattr(network.module, "loss", None))
    is_taught = needs_teacher or not isinstance(how, Uniform) or bool(teachers)
    method = TrainingSettings(
        criterion=str(_criterion_of(how)),
        round_to=_round_to_of(how),
        validation_split=0.0 if chosen_by is None else chosen_by.share,
        validation_from=TRAINING if chosen_by is None else chosen_by.part,
        learning_rate=training.learning_rate,
        optimizer=training.optimizer,
        batch_size=training.batch_size,
        teacher_weight=TrainingSettings.teacher_weight if is_taught else 0.0,
        shift=shift,
        flip=flip,
        cache_soft_targets=training.cache_soft_targets,
    )
    rounds: tuple[Round, ...] = ()
    if isinstance(how, Sparsity):
        rounds = _sparser(how.share, checked_epochs(how.epochs_between))
    elif isinstance(how, Uniform):
        rounds = _uniform(network, subject.shape, how.pruning_ratio)
    epochs = training.epochs
    if epochs is None:
        epochs = min(_EPOCHS, max(1, round(_SAMPLES / len(subject.data.training)))) if is_searched else _EPOCHS
    return Plan(subject.name, layers_of(network), method, rounds, epochs, data, described(teachers)), chosen_by


def _with_tuning(budget: Budget, samples: int) -> Budget:
    """Return *budget*, its search with the epochs between rounds, as given or what suits so many *samples*."""
    between = budget.search.epochs_between
    if between is None:
        between = min(1, round(_SAMPLES_BETWEEN / samples, 2))
    return replace(budget, search=replace(budget.search, epochs_between=checked_epochs(between)))


def _validation_of(plan: Plan) -> Validation | None:
    """Return what *plan* was chosen by."""
    from edgecnn.pipeline.judging import Validation

    method = plan.method
    return Validation(method.validation_from, method.validation_split) if method.validation_split else None


def _compressed(
    subject: Subject,
    teachers: Sequence[Network],
    how: Uniform | Sparsity | Budget | Plan,
    plan: Plan,
    folder: RunFolder,
    path: Path,
    validation: Validation | None,
    progress: Progress,
) -> CompressResult:
    from edgecnn.compress.units import find_units
    from edgecnn.pipeline.judging import records_of, verdict
    from edgecnn.pipeline.search import apply_plan, search
    from edgecnn.pipeline.steps import Steps

    assert subject.network is not None
    budget = how if isinstance(how, Budget) else Budget()
    blocks = how.search.substitutes if isinstance(how, Budget) else plan.substitutes
    steps = Steps.of(subject, plan.method, budget, folder, path.stem, progress, teachers, validation, blocks)
    original = steps.start().status
    reference = original.score.value if budget.reference is None and original.score is not None else budget.reference
    if isinstance(how, Budget):
        assert reference is not None
        found = search(steps, plan.epochs, reference)
    else:
        found = apply_plan(steps, plan)
    network, status = found.state.network, found.state.status
    evaluation, metric = steps.parts.evaluation, steps.objective.metric
    progress("judging on the evaluation part")
    before = None if validation is None else validation.records(evaluation)
    if before is None:
        before = records_of(subject, subject.network, evaluation, metric)
    after = records_of(subject, network, evaluation, metric) if found.rounds or found.epochs else before
    final = verdict(metric, before, after, budget)
    is_sparse = plan.is_sparse(len(plan.rounds))
    is_new = not isinstance(how, Plan)
    units = find_units(subject.network.module, subject.shape, blocks) if is_new and not is_sparse else None
    result = CompressResult(
        path=path,
        before=original,
        after=status,
        verdict=final,
        warnings=(
            *subject.warnings,
            *(text for one in teachers for text in one.warnings),
            *((validation.note,) if validation and validation.note else ()),
            *_notes(found, budget, original),
            *final.notes,
        ),
        plan=_plan_file(path),
        attempts=found.attempts,
        stopped=found.stopped,
        unmet=(*budget.unmet(original, status, reference), *final.unmet),
        sparse_size=_sparse_sizes(steps, subject.network, network) if is_sparse else None,
        fixed=(*(units.fixed if units else ()), *steps.wrong),
        unsubstituted=units.unsubstituted if units else (),
        validation=validation,
    )
    checkpoint = network.checkpoint
    assert checkpoint is not None
    done = replace(plan, rounds=found.rounds, epochs=found.epochs)
    replace(
        checkpoint,
        **score_to_json(result.score_after),
        data=subject.data.name,
        history=(*checkpoint.history, *_history(done, subject.data.name)),
    ).save(path, network.module)
    assert result.plan is not None
    if plan.path is None or plan.path.resolve() != result.plan.resolve():
        done.write(result.plan)
    if budget.measured_on is not None:
        result = _measured(result, steps, network, budget)
    folder.remove()
    return result


def _measured(result: CompressResult, steps: Steps, network: Network, budget: Budget) -> CompressResult:
    """Return *result*, which is written already, with the latency of its int8 file measured on the budget's target."""
    target, goal_ns = budget.measured_on, budget.latency_ns
    assert target is not None
    assert goal_ns is not None
    try:
        measurement = steps.measured(network, target)
    except EdgecnnError as error:
        return replace(result, warnings=(*result.warnings, f"not measured, so the estimate has to do: {error}"))
    p50_ns = measurement.p50_ns
    unmet = result.unmet
    if p50_ns is not None and p50_ns > goal_ns:
        sentence = (
            f"its w8a8 TFLite file takes {format_ns(p50_ns)} on {target}, measured, the goal is {format_ns(goal_ns)}"
        )
        unmet = (*unmet, sentence)
    return replace(result, measured=measurement, unmet=unmet)


def _plan_file(path: Path) -> Path:
    """Return where the plan goes that made the checkpoint at *path*."""
    return path.with_suffix(".plan.toml")


def _sparse_sizes(steps: Steps, before: Network, after: Network) -> tuple[SparseSize, SparseSize] | None:
    """Return what the zeros are worth in both files; None where the network becomes no TFLite file."""
    try:
        return steps.sparse_size(before), steps.sparse_size(after)
    except EdgecnnError as error:
        steps.progress(f"no w8a8 TFLite file to weigh the zeros in: {error}")
        return None


def _check_plan(plan: Plan, network: Network) -> None:
    """See that *plan* is for *network*, where its weights can be compared by now.

    Raises:
        EdgecnnError: it is for another one.
    """
    # What else an exported program is no good for is told later; lazy layers have sizes once they met the data.
    if network.checkpoint is not None and not network.is_lazy:
        plan.check_network(network)


def _checked(subject: Subject, model: str) -> Network:
    """Return the network, seen to be one that can be cut and judged by its data."""
    network = subject.network
    if network is None or network.checkpoint is None:
        raise EdgecnnError(f"{model}: an exported program cannot be pruned; give the network that it was made from")
    network.check_code()
    first = next(iter(run_original(subject, subject.data.training.take(1), threads=1)))
    check_outputs(subject, first.outputs, background=False)
    return network


def _augmentation(subject: Subject, augment: bool | None, objective: Objective) -> tuple[int, bool]:
    """Return by how many pixels training images are moved, and whether half of them are mirrored.

    Raises:
        EdgecnnError: it is asked for, and a target is not right for an image that was moved.
    """
    if not objective.keeps_when_moved:
        if augment:
            raise EdgecnnError(
                f"task {objective.task}: the targets would be wrong for images that are shifted and mirrored; leave "
                "out --augment"
            )
        return 0, False
    shape = subject.shape
    photographs = len(shape) == 3 and shape[0] == 3 and min(shape[1:]) >= _PHOTOGRAPH_SIDE
    return (_PHOTOGRAPH_SHIFT, True) if augment or (augment is None and photographs) else (0, False)


def _uniform(network: Network, shape: tuple[int, ...], ratio: float) -> tuple[Round, ...]:
    """Return the same share of every unit's filters as one round."""
    from edgecnn.compress.unit import FILTERS
    from edgecnn.compress.units import find_units

    units = find_units(network.module, shape).of_kind(FILTERS)
    return (Round(dict.fromkeys(units, ratio)),) if ratio and units else ()


def _sparser(sparsity: float, epochs: float) -> tuple[Round, ...]:
    """Return the rounds to a *sparsity*, so many *epochs* after each."""
    from edgecnn.compress.magnitude import sparsity_steps

    return tuple(Round({}, epochs, step) for step in sparsity_steps(sparsity, _SPARSITY_STEPS) if step)


def _identity(subject: Subject, network: Network, plan: Plan, budget: Budget | None) -> dict[str, Any]:
    """Return all that the result depends on, in JSON's types."""
    goals = {} if budget is None else asdict(budget)
    goals |= goals.pop("search", {})
    training = subject.data.training
    classes = training.class_numbers
    digest = hashlib.sha256(b"" if classes is None else classes[training.indices].tobytes())
    for batch in training.take(256):
        digest.update(batch.x.tobytes())
    rounds = json.dumps([asdict(one) for one in plan.rounds])
    return {
        "network": network.weights_sha256(),
        "data": f"{subject.data.name} {digest.hexdigest()}",
        "normalization": str(subject.normalization),
        **({} if subject.is_classifier else {"task": subject.choice.to_json(size_of_input(subject.shape))}),
        **goals,
        **asdict(plan.method),
        "epochs": plan.epochs,
        **({"teachers": [one.rpartition(" ")[2] for one in plan.teachers]} if plan.teachers else {}),
        "rounds": hashlib.sha256(rounds.encode()).hexdigest(),
    }


@contextmanager
def _kept(folder: RunFolder) -> Iterator[RunFolder]:
    """Yield *folder*; where the work in it fails before there is anything to keep, it goes.

    Raises:
        EdgecnnError: that of the work; where the folder stays, with what it is in the way of.
    """
    try:
        yield folder
    except BaseException as error:
        if not any(folder.path.glob("*.safetensors")):
            folder.remove()
        elif isinstance(error, KeyboardInterrupt):
            error.add_note(f"what is done lies in '{folder.path}': the same command with --resume goes on")
        elif isinstance(error, EdgecnnError):
            raise EdgecnnError(
                f"{error}; to run with other settings, delete '{folder.path}' or write to another file"
            ) from error
        raise
    finally:
        folder.close()


def _notes(found: SearchResult, budget: Budget, original: NetworkStatus) -> Iterator[str]:
    """Yield what there is to know of a search in which nothing went."""
    if budget.has_goal and not found.rounds:
        if found.attempts:
            yield "every cut lost too much accuracy: the result is the network as it was"
        elif budget.is_open or budget.shortfalls(original, original):
            yield "nothing in the network can be cut: the result is the network as it was"
        else:
            yield "the network meets the goals already: the result is the network as it was"


def _history(plan: Plan, data: str) -> Iterator[dict[str, Any]]:
    """Yield what was done, for the checkpoint's history; what did nothing is left out."""
    method = plan.method
    teachers = {"teachers": list(plan.teachers)} if plan.teachers else {}
    judged = (
        {"judged_by": {"part": method.validation_from, "share": method.validation_split}}
        if method.validation_split
        else {}
    )
    for number, one in enumerate(plan.rounds, start=1):
        if one.cuts:
            how = {"criterion": method.criterion, "round_to": method.round_to, **judged}
            yield {"step": "prune", "cuts": dict(one.cuts), **how}
        if one.sparsity:
            yield {"step": "sparsify", "sparsity": one.sparsity}
        if one.epochs:
            config = method.training(one.epochs, number, keep_zeros=plan.is_sparse(number))
            yield {"step": "train", **asdict(config), "data": data, **teachers}
    if plan.epochs:
        config = method.training(plan.epochs, keep_zeros=plan.is_sparse(len(plan.rounds)))
        yield {"step": "train", **asdict(config), "data": data, **teachers}
