"""Training protocols by name: the two of Sobolewski and Szyc 2023, and what one would do within few epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgecnn.compress.augment import PHOTOGRAPHS
from edgecnn.compress.train import TrainConfig
from edgecnn.errors import unknown_name

_PUBLISHED = TrainConfig(
    batch_size=128,
    optimizer="sgd",
    label_smoothing=0.0,
    augmentation=PHOTOGRAPHS,
    nesterov=False,
    decay_vectors=True,
    keep_last_batch=True,
)

#: Protocol → its settings.
#:
#: - a: the rate falls from 0.01 to a tenth when the training loss has not fallen for 5 epochs, and training ends when
#:   it has not for 10. The paper has no limit of epochs, which is unknown; 200 is ours.
#: - b: one cycle over 150 epochs with a peak of 0.0125; momentum goes from 0.95 to 0.85 and back.
#: - c: AdamW with one cycle, label smoothing, the moving average of the weights, and a teacher where one is given,
#:   whose scores are cached for 4 epochs.
PROTOCOLS: Mapping[str, TrainConfig] = {
    "a": replace(_PUBLISHED, schedule="plateau", epochs=200, learning_rate=0.01, weight_decay=5e-4),
    "b": replace(_PUBLISHED, epochs=150, learning_rate=0.0125, weight_decay=2e-5, warmup=0.1),
    "c": TrainConfig(
        epochs=20,
        batch_size=128,
        learning_rate=4e-3,
        weight_decay=5e-2,
        label_smoothing=0.1,
        augmentation=PHOTOGRAPHS,
        average=0.998,
        cache_soft_targets=4,
    ),
}


#: The training after each iteration of pruning, in both papers.
FINE_TUNING = replace(
    _PUBLISHED, schedule="plateau", patience=5, epochs=50, learning_rate=1e-4, weight_decay=5e-4, keep_zeros=True
)


def training_protocol(name: str, *, epochs: float | None = None, seed: int = 0) -> TrainConfig:
    """Return the settings of a protocol.

    Args:
        name: `a`, `b` or `c`.
        epochs: in place of the protocol's own number, or of the most for `a`; None: its own.
        seed: of the order of samples and of augmentation.

    Raises:
        EdgecnnError: no such protocol.

    Example:
        >>> training_protocol("b").epochs
        150
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    return replace(protocol, epochs=protocol.epochs if epochs is None else epochs, seed=seed)
