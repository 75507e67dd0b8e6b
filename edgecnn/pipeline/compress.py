"""A network in, a smaller one out, as a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.compress import CRITERIA, ORDERS
from edgecnn.datasets import Data
from edgecnn.errors import EdgecnnError, explain_missing_packages
from edgecnn.evaluate.choice import TaskChoice, size_of_input
from edgecnn.files import check_name, check_writable, destination
from edgecnn.normalization import Normalization, Resize
from edgecnn.pipeline.budget import Budget, NetworkStatus, Search, SparseSize
from edgecnn.pipeline.plan import TRAINING, Plan, Round, TrainingSettings, checked_epochs, layers_of, read_plan
from edgecnn.pipeline.result import CompressResult
from edgecnn.pipeline.run_folder import RunFolder, folder_of
from edgecnn.pipeline.subject import Subject, check_outputs, load_subject, run_original
from edgecnn.progress import Progress, silent
from edgecnn.tasks.score import score_to_json
from edgecnn.units import check_fraction

if TYPE_CHECKING:
    from edgecnn.compress.objective import Objective
    from edgecnn.nets.network import Model, Network
    from edgecnn.pipeline.judging import Validation
    from edgecnn.pipeline.search import SearchResult
    from edgecnn.pipeline.steps import Steps

_PHOTOGRAPH_SIDE = 32  # pixels from which images of three channels are taken for photographs
_PHOTOGRAPH_SHIFT = 4
_SPARSITY_STEPS = 5

#: Epochs of the training at the end, and of the tuning between rounds, where nobody says how many.
_EPOCHS, _EPOCHS_BETWEEN = 10, 1
#: With a goal they show about so many samples at most, so that an answer comes in minutes: ResNet-20 takes about 4 ms
#: of a core for each, its teacher included. The training at the end has one epoch at least.
_SAMPLES, _SAMPLES_BETWEEN = 150_000, 25_000


@explain_missing_packages()
def compress_model(
    model: Model,
    path: Path | str,
    *,
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    input_shape: tuple[int, ...] | None = None,
    pruning_ratio: float | None = None,
    sparsity: float | None = None,
    budget: Budget | None = None,
    plan: Path | str | None = None,
    search: Search = Search(),  # noqa: B008 (frozen)
    criterion: str = "l2",
    round_to: int | None = None,
    epochs: float | None = None,
    learning_rate: float = 3e-3,
    optimizer: str = "adamw",
    batch_size: int = 64,
    augment: bool | None = None,
    cache_soft_targets: int = 0,
    teachers: Sequence[Model] = (),
    reference: float | None = None,
    resume: bool = False,
    weights: str | Path | None = None,
    normalization: Normalization | str | None = None,
    resize: Resize | str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    progress: Progress = silent,
) -> CompressResult:
    """Make a network smaller and tune it, and write it to *path* as a `Checkpoint`, the plan of it beside.

    By one of four: a *pruning_ratio*, the same for each layer, and a training; a *sparsity*, to which the smallest
    weights become 0 step by step, with the original as the teacher of the trainings between; a *budget*, within which
    the cuts that cost least are searched round by round, with the same teacher; or a *plan* that such a run has
    written. Where a budget cannot be met, the result is the smallest network that keeps to the accuracy, and says what
    it misses.

    Cuts are chosen by a tenth of the training part, which is not trained on. A network that was trained on it already,
    as published ones were, is far more often right there than on the evaluation part: then half of the evaluation part
    is chosen by instead. The final figures are of evaluation samples that chose nothing, and where they break the drop
    beyond chance, the result says so among the goals it misses.

    Args:
        model: see `edgecnn.build`; an exported program cannot be pruned.
        path: the `.safetensors` file to write. While it goes on, a folder of that name and `.run` keeps what is done.
        data: a data set, as `open_dataset` takes it: a name, a `Dataset`, a DataLoader or arrays; None: the plan's.
        task: what the network does: a name in `TASKS`, or a `TaskChoice` with a metric or a decoder; None: as the
            network says, else as the data say. A task without a loss of its own is trained by the original's raw
            outputs, and where nothing says what is right, it is judged by them as well.
        input_shape: (C, H, W) that images in files come to; None: as the network says.
        pruning_ratio: of the channels of every prunable layer, in [0, 1); 0.5 where nothing else is given.
        sparsity: share of the weights of convolutions and linear layers that become 0, in [0, 1). The shapes stay, and
            so do the sizes of dense files; what zip makes of them is told.
        budget: the goals: the score that may be lost, the size that is needed.
        plan: a plan's file; it decides on all but the data.
        search: how to look for cuts; its `epochs_between` are those between the steps to a sparsity as well.
        criterion: a name in `CRITERIA`, or `package.module:function` or `FILE.py:function` of your own. Beside a plan
            that asks for code of its own, the same again: a file alone does not choose what code runs.
        round_to: channel counts become multiples of it; None: of what the kernels of the budget's device compute at
            once, else of 1.
        epochs: of the training at the end, 0.5 is half of one; None: 10, and with a budget as many whole ones as show
            150 000 samples, from 1 to 10.
        learning_rate: the peak of each training's one cycle.
        optimizer: `adamw` or `sgd`.
        batch_size: of the trainings.
        augment: whether training images are moved and mirrored; None: those that may be photographs.
        cache_soft_targets: after so many epochs of a training with a teacher, its batches return, with the teacher's
            scores as they were; 0: each epoch has batches of its own.
        teachers: networks that teach in the original's place, by the mean of their scores: as they are, checkpoints,
            or `MODEL=WEIGHTS`. With a *pruning_ratio* there is no teacher but by this. Beside a plan, those it names.
        reference: the score that drops are counted from, as a fraction; None: the original's on the part that is
            judged by.
        resume: whether to go on with a run that was stopped.
        weights: see `edgecnn.build`.
        normalization: how pixels become inputs, a `Normalization` or its text (`imagenet`); None: as the network says,
            else as the data set does.
        resize: how images in files come to the network's size; None: as the network says, else they just cover it.
        data_dir: where data sets lie.
        download: whether a data set that is not there may be fetched.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: bad arguments, a network that cannot be rebuilt or pruned, or a loss that is no number.

    Example:
        >>> how = {"data": "digits", "pruning_ratio": 0.5, "epochs": 0}
        >>> small = edgecnn.compress_model("edgecnn:digits-cnn", "small.safetensors", **how)
        >>> small.after.params < small.before.params / 2
        True
    """
    path = Path(path)
    _check_ways(pruning_ratio, sparsity, budget, plan, reference)
    if path.suffix != ".safetensors":
        raise EdgecnnError(f"{path}: a checkpoint's name ends in .safetensors")
    written = read_plan(Path(plan)) if plan is not None else None
    if written is not None:
        _check_own_criterion(criterion, written, str(plan))
    CRITERIA.load(written.method.criterion if written else criterion)
    ORDERS.load(search.order)
    device = None if budget is None else budget.target()
    if data is None:
        if written is None or not written.data:
            raise EdgecnnError("compress needs a data set for training: give --data")
        data = written.data
    check_writable(path)
    check_name(folder_of(path))
    destination(_plan_file(path))
    # Before it meets the data: of a network that the plan is not for, all else that is wrong does not matter.
    seen = None if written is None else partial(_check_plan, written, where=str(plan))
    subject = load_subject(
        model,
        data=data,
        task=task,
        input_shape=input_shape,
        weights=weights,
        normalization=normalization,
        resize=resize,
        data_dir=data_dir,
        download=download,
        seen=seen,
    )
    network = _checked(subject, model if isinstance(model, str) else subject.name)
    from edgecnn.compress.objective import Distilled
    from edgecnn.pipeline.judging import Validation, choose_validation, chosen_before, objective_of
    from edgecnn.pipeline.teachers import described, load_teachers

    objective = objective_of(subject)
    others = load_teachers(teachers, subject)
    if written is not None:
        _check_plan(written, network, where=str(plan))
        written.check_teachers(described(others), str(plan))
        chosen, method = written, written.method
        chosen_by = Validation(method.validation_from, method.validation_split) if method.validation_split else None
    else:
        shift, flip = _augmentation(subject, augment, objective)
        # Without a search there is nothing to choose.
        chosen_by = chosen_before(subject) if budget is None else choose_validation(subject, objective.metric, progress)
        validation_split, validation_from = (0.0, TRAINING) if chosen_by is None else (chosen_by.share, chosen_by.part)
        needs_teacher = isinstance(objective.loss, Distilled) and not callable(getattr(network.module, "loss", None))
        is_taught = needs_teacher or budget is not None or sparsity is not None or others
        taught = TrainingSettings.teacher_weight if is_taught else 0.0
        if round_to is None:
            round_to = 1 if device is None else device.channels_at_once
        method = TrainingSettings(
            criterion,
            round_to,
            validation_split,
            validation_from,
            learning_rate,
            optimizer,
            batch_size,
            taught,
            shift,
            flip,
            cache_soft_targets,
        )
        epochs, between = _epochs(epochs, search.epochs_between, len(subject.data.training), budget)
        search = replace(search, epochs_between=between)
        rounds: tuple[Round, ...] = ()
        if sparsity is not None:
            rounds = _sparser(sparsity, between)
        elif budget is None:
            rounds = _uniform(network, subject.shape, 0.5 if pruning_ratio is None else pruning_ratio)
        chosen = Plan(
            subject.name,
            layers_of(network),
            method,
            rounds,
            epochs,
            data if isinstance(data, str) else "",
            described(others),
        )
    identity = _identity(subject, network, chosen, budget, search, reference)
    with _kept(RunFolder.open(path, identity, resume=resume)) as folder:
        return _compressed(subject, others, chosen, budget, search, reference, folder, path, plan, chosen_by, progress)


def _compressed(
    subject: Subject,
    teachers: Sequence[Network],
    plan: Plan,
    budget: Budget | None,
    config: Search,
    reference: float | None,
    folder: RunFolder,
    path: Path,
    source: Path | str | None,
    validation: Validation | None,
    progress: Progress,
) -> CompressResult:
    from edgecnn.compress.units import find_units
    from edgecnn.pipeline.judging import records_of, verdict
    from edgecnn.pipeline.search import apply_plan, search
    from edgecnn.pipeline.steps import Steps

    assert subject.network is not None
    steps = Steps.of(subject, plan.method, budget or Budget(), folder, path.stem, progress, teachers, validation)
    original = steps.start().status
    counted_from = original.score.value if reference is None and original.score is not None else reference
    if budget is None:
        found = apply_plan(steps, plan)
    else:
        assert counted_from is not None
        found = search(steps, config, plan.epochs, counted_from)
    network, status = found.state.network, found.state.status
    evaluation, metric = steps.parts.evaluation, steps.objective.metric
    progress("judging on the evaluation part")
    before = None if validation is None else validation.records(evaluation)
    if before is None:
        before = records_of(subject, subject.network, evaluation, metric)
    after = records_of(subject, network, evaluation, metric) if found.rounds or found.epochs else before
    final = verdict(metric, before, after, budget or Budget(), reference)
    sparse = plan.is_sparse(len(plan.rounds))
    result = CompressResult(
        path,
        original,
        status,
        final,
        (
            *subject.warnings,
            *(text for one in teachers for text in one.warnings),
            *((validation.note,) if validation and validation.note else ()),
            *_notes(found, budget, original),
            *final.notes,
        ),
        _plan_file(path),
        found.attempts,
        found.stopped,
        () if budget is None else (*budget.unmet(original, status, counted_from), *final.unmet),
        _sparse_sizes(steps, subject.network, network) if sparse else None,
        (
            *(() if source is not None or sparse else find_units(subject.network.module, subject.shape).fixed),
            *steps.wrong,
        ),
        validation,
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
    if source is None or Path(source).resolve() != result.plan.resolve():
        done.write(result.plan)
    folder.remove()
    return result


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


def _check_ways(
    pruning_ratio: float | None,
    sparsity: float | None,
    budget: Budget | None,
    plan: Path | str | None,
    reference: float | None,
) -> None:
    """See that one thing alone says how much to cut.

    Raises:
        EdgecnnError: several do, or a share is none.
    """
    if sparsity is not None and not (pruning_ratio is None and budget is None and plan is None):
        raise EdgecnnError("--sparsity does not go with a ratio, a goal or a plan: leave one of them out")
    if pruning_ratio is not None and budget is not None:
        raise EdgecnnError(
            "a ratio does not go with a goal: leave out --ratio to search for cuts, or --max-drop, --macs, --params, "
            "--size, --fit, --ram and --flash to cut each layer alike"
        )
    if plan is not None and (pruning_ratio is not None or budget is not None):
        raise EdgecnnError("a plan does not go with a ratio or a goal: leave one of them out")
    if budget == Budget():
        raise EdgecnnError(
            "the budget has no goal: give one of max_drop, macs, params, size_bytes, device, ram_bytes and flash_bytes"
        )
    for what, value in (("sparsity", sparsity), ("pruning ratio", pruning_ratio)):
        if value is not None:
            check_fraction(what, value)
    if reference is not None and not 0.01 < reference <= 1:
        raise EdgecnnError(
            f"the accuracy that drops are counted from is above 1 % and at most 100 %, not {100 * reference:g} %"
        )


def _check_own_criterion(criterion: str, plan: Plan, where: str) -> None:
    """See that code which is not edgecnn's runs only where plan and caller both name it.

    Raises:
        EdgecnnError: one alone does.
    """
    asked = plan.method.criterion
    if asked != criterion and ":" in asked:
        raise EdgecnnError(
            f"{where} names the criterion {asked}, which is not edgecnn's code; if you trust it, add --criterion "
            f"{asked}"
        )
    if asked != criterion and ":" in criterion:
        raise EdgecnnError(f"--criterion {criterion} does not go with {where}, which has {asked}")


def _check_plan(plan: Plan, network: Network, *, where: str) -> None:
    """See that *plan* is for *network*, where its weights can be compared by now.

    Raises:
        EdgecnnError: it is for another one.
    """
    # What else an exported program is no good for is told later; lazy layers have sizes once they met the data.
    if network.checkpoint is not None and not network.is_lazy:
        plan.check_network(network, where)


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
    from edgecnn.compress.units import FILTERS, find_units

    units = find_units(network.module, shape).of_kind(FILTERS)
    return (Round(dict.fromkeys(units, ratio)),) if ratio and units else ()


def _epochs(epochs: float | None, between: float | None, samples: int, budget: Budget | None) -> tuple[float, float]:
    """Return the epochs of the training at the end and of the tunings between, as given or what suits the *samples*."""
    if epochs is None:
        epochs = _EPOCHS if budget is None else min(_EPOCHS, max(1, round(_SAMPLES / samples)))
    if between is None:
        between = _EPOCHS_BETWEEN if budget is None else min(_EPOCHS_BETWEEN, round(_SAMPLES_BETWEEN / samples, 2))
    return checked_epochs(epochs), checked_epochs(between)


def _sparser(sparsity: float, epochs: float) -> tuple[Round, ...]:
    """Return the rounds to a *sparsity*, so many *epochs* after each."""
    from edgecnn.compress.magnitude import sparsity_steps

    return tuple(Round({}, epochs, step) for step in sparsity_steps(sparsity, _SPARSITY_STEPS) if step)


def _identity(
    subject: Subject,
    network: Network,
    plan: Plan,
    budget: Budget | None,
    config: Search,
    reference: float | None,
) -> dict[str, Any]:
    """Return all that the result depends on, in JSON's types."""
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
        **asdict(plan.method),
        "epochs": plan.epochs,
        **({"teachers": [one.rpartition(" ")[2] for one in plan.teachers]} if plan.teachers else {}),
        "rounds": hashlib.sha256(rounds.encode()).hexdigest(),
        **({} if budget is None else asdict(budget) | asdict(config) | {"reference": reference}),
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


def _notes(found: SearchResult, budget: Budget | None, original: NetworkStatus) -> Iterator[str]:
    """Yield what there is to know of a search in which nothing went."""
    if budget is None:
        return
    if not found.rounds:
        if found.attempts:
            yield "every cut lost too much accuracy: the result is the original"
        elif budget.is_open or budget.shortfalls(original, original):
            yield "nothing in the network can be cut: the result is the original"
        else:
            yield "the network meets the goals already: the result is the original"


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
