"""What is counted on the networks of a study, beside what was published about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecnn.progress import Progress, silent
from edgecnn.short_repr import short_repr
from edgecnn.study.definition import Study, Variant
from edgecnn.study.published import Published, read_published

#: What a published checkpoint may have beside its weights: names and counters of up to a few hundred layers.
_MOST_BESIDE_WEIGHTS_MIB = 0.5


@dataclass(frozen=True)
class VariantFigures:
    """The counted figures of one network, and the published ones, which are rounded."""

    __repr__ = short_repr

    variant: Variant
    params: int
    macs: int  # of convolutions and linear layers, for one input
    fvcore_flops: int  # what papers call FLOPS: see `OperationCount.fvcore_flops`
    weights_bytes: int  # of all parameters and statistics in float32
    published: Published

    @property
    def differs(self) -> tuple[str, ...]:
        """Which published figures are neither ours rounded nor ours cut off, each with ours: "params 42.513 M".

        A published size is that of a checkpoint, which has a little more in it than the weights.
        """
        pairs = (
            ("params", self.params, self.published.params_millions, 3),
            ("FLOPS", self.fvcore_flops, self.published.flops_millions, 2),
        )
        counts = tuple(
            f"{name} {ours / 1e6:.{digits}f} M"
            for name, ours, printed, digits in pairs
            if printed is not None and not -0.51 < (ours / 1e6 - printed) * 10**digits < 1
        )
        size_mib = self.weights_bytes / 2**20
        printed_mib = self.published.size_mib
        differs = printed_mib is not None and not -0.01 <= printed_mib - size_mib < _MOST_BESIDE_WEIGHTS_MIB
        return (*counts, *((f"size {size_mib:.2f} MiB",) if differs else ()))

    def to_json(self) -> dict[str, Any]:
        """Return the figures for `--json`, those counted and those published apart."""
        printed = self.published
        return {
            "variant": self.variant.number,
            "model": self.variant.model,
            "blocks": self.variant.blocks,
            "compared_with": self.variant.compared_with,
            "counted": {
                "params": self.params,
                "macs": self.macs,
                "fvcore_flops": self.fvcore_flops,
                "weights_bytes": self.weights_bytes,
            },
            "published": {
                "params_millions": printed.params_millions,
                "flops_millions": printed.flops_millions,
                "size_mib": printed.size_mib,
                "accuracy_percent": printed.accuracy_percent,
            },
            "differs": list(self.differs),
        }


def count_variants(
    study: Study, variants: Sequence[Variant] = (), progress: Progress = silent
) -> tuple[VariantFigures, ...]:
    """Return the figures of *variants*; none: of all variants of the study.

    Each network is built without drawing its weights and run once on one input.

    Args:
        study: which one.
        variants: some of its own.
        progress: told how many are done.

    Raises:
        EdgecnnError: a model of the study is unknown, or the published figures are broken.

    Example:
        >>> study = edgecnn.load_study("resnet101-cifar10")
        >>> smallest, = edgecnn.count_variants(study, study.chosen([13]))
        >>> smallest.params, smallest.published.params_millions
        (150715, 0.151)
    """
    published = read_published(study)
    chosen = variants or study.variants
    figures = []
    for done, variant in enumerate(chosen):
        progress("counting", done, len(chosen))
        figures.append(_count(study, variant, published.get(variant.number, Published())))
    return tuple(figures)


def _count(study: Study, variant: Variant, published: Published) -> VariantFigures:
    from edgecnn.nets.size import size_of

    size = size_of(variant.model, study.classes, study.input_shape)
    operations = size.operations
    return VariantFigures(variant, size.params, operations.macs, operations.fvcore_flops, size.weights_bytes, published)
