"""A network and its data in; what each of its layers is worth, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.compress.settings import CRITERION
from edgecnn.datasets import Data
from edgecnn.errors import EdgecnnError, explain_missing_packages
from edgecnn.evaluate.choice import TaskChoice
from edgecnn.pipeline.subject import check_outputs, load_subject, run_original
from edgecnn.progress import Progress, silent

if TYPE_CHECKING:
    from edgecnn.compress.sensitivity import Sensitivity
    from edgecnn.nets.network import Model

#: Samples of each part that show whether a network was trained on the training part.
_ASKED = 2000


@explain_missing_packages()
def measure_sensitivity(
    model: Model,
    *,
    data: Data,
    task: TaskChoice | str | None = None,
    ratios: Sequence[float] = (0.5, 1.0),
    criterion: str = CRITERION,
    round_to: int = 1,
    per: str = "bytes",
    agreement: float = 0.98,
    weights: str | Path | None = None,
    substitutes: Sequence[str] = (),
    progress: Progress = silent,
) -> Sensitivity:
    """Cut each layer of a network separately, and return the loss and the saving of each cut.

    Cuts are judged on a tenth of the training data, stratified by class. If the network was trained on that tenth, half
    of the evaluation data is used instead, as in `compress_model`. After each cut the batch norm statistics and the
    spread of the class scores are recomputed on other training images.

    Args:
        model: see `edgecnn.build`; an exported program cannot be cut.
        data: a data set, as `open_dataset` takes it: a name, a `Dataset`, a DataLoader or arrays.
        task: what the network does; None: as the network says, else as the data say, else it is judged by how much of
            its own outputs stays.
        input_shape: (C, H, W) that images in files come to; None: as the network says.
        ratios: of a layer's filters; 1 takes a layer or block out whole, where it can go.
        criterion: what filters are judged by.
        round_to: channel counts become multiples of it.
        per: what rows are ranked by: loss for each of the `bytes`, `macs` or `activations` saved.
        agreement: more samples are taken until the ranking is expected to agree this well (Spearman) with one of other
            samples; 1: all samples for every cut.
        weights: see `edgecnn.build`.
        substitutes: blocks that are put in the place of each plain convolution as well, names in `SUBSTITUTES`.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: bad arguments, or a network that cannot be cut or judged.

    Example:
        >>> found = edgecnn.measure_sensitivity("edgecnn:digits-cnn", data="digits", ratios=[0.5])
        >>> sorted({row.ratio for row in found.rows})
        [0.5]
    """
    from edgecnn.compress.criteria import graded_for
    from edgecnn.compress.sensitivity import SensitivityConfig, sensitivity
    from edgecnn.pipeline.judging import Parts, choose_validation, objective_of

    config = SensitivityConfig(
        ratios=tuple(ratios),
        criterion=criterion,
        round_to=round_to,
        per=per,
        agreement=agreement,
        substitutes=tuple(dict.fromkeys(substitutes)),
    )
    subject = load_subject(
        model,
        data=data,
        task=task,
        weights=weights,
        in_torch=True,
    )
    if subject.network is None or subject.network.checkpoint is None:
        raise EdgecnnError(f"{subject.name}: an exported program cannot be cut; give the network that it was made from")
    subject.network.check_code()
    first = next(iter(run_original(subject, subject.data.training.take(1), threads=1)))
    objective = objective_of(subject)
    check_outputs(subject, first.outputs, background=False)
    chosen = choose_validation(subject, objective.metric, progress, _ASKED)
    parts = Parts.of(subject.data, chosen.share, chosen.part)
    others, judges = parts.training, parts.validation
    assert judges is not None
    module = graded_for(criterion, subject.network.module, others, subject.normalization, objective)
    found = sensitivity(
        module,
        subject.shape,
        judges,
        config,
        subject.normalization,
        progress,
        objective=objective,
        calibration=others,
    )
    notes = (*subject.warnings, *((chosen.note,) if chosen.note else ()), *found.notes)
    return replace(found, notes=notes)
