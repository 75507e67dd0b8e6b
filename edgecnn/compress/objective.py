"""What a network is judged as: what is said of it and of its data, never what the sizes of its outputs suggest."""

from __future__ import annotations

from torch import nn

from edgecnn.errors import EdgecnnError, unknown_name

CLASSIFICATION, RECONSTRUCTION = "classification", "reconstruction"

#: The attribute by which a network says that it is judged as something else than a classifier.
ATTRIBUTE = "edgecnn_task"


def task_of(module: nn.Module, *, labelled: bool) -> str:
    """Return what *module* is judged as: `CLASSIFICATION` or `RECONSTRUCTION`.

    Args:
        module: its attribute `edgecnn_task` says it; without one, samples with a class each do.
        labelled: whether the samples bear classes.

    Raises:
        EdgecnnError: nothing says it, the attribute is none of these, or a classifier has samples without classes.

    Example:
        >>> task_of(nn.Linear(10, 10), labelled=True)
        'classification'
    """
    declared = getattr(module, ATTRIBUTE, None)
    if declared is not None and declared not in (CLASSIFICATION, RECONSTRUCTION):
        raise unknown_name(ATTRIBUTE, str(declared), (CLASSIFICATION, RECONSTRUCTION))
    if declared is None and not labelled:
        raise EdgecnnError(
            "the data have no labels, so the network cannot be judged: give labelled data, or if it "
            f'reconstructs its input, declare that in its class: {ATTRIBUTE} = "{RECONSTRUCTION}"'
        )
    if declared == CLASSIFICATION and not labelled:
        raise EdgecnnError("the data have no labels to judge a classifier by; give labelled data")
    return declared or CLASSIFICATION


def check_scores(shape: tuple[int, ...]) -> None:
    """See that outputs of that *shape*, [n, ...], are class scores [n, classes].

    Raises:
        EdgecnnError: they are others.
    """
    if len(shape) != 2:
        raise EdgecnnError(
            f"the data have one class for each sample, but the network has outputs of shape {list(shape[1:])}, "
            "which are not class scores [classes]; wrap it in a module that returns its scores, or if it reconstructs "
            f'its input, declare that in its class: {ATTRIBUTE} = "{RECONSTRUCTION}"'
        )
