"""torchvision's one-stage detectors: backbone and heads, which are exported, and the decoder of what they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.tasks.decoders import Decoder
from edgecnn.tasks.heads import Fcos, RetinaNet, Ssd

#: Names of torchvision's classes of detectors with one stage, by which they are known without importing it.
_ONE_STAGE = ("SSD", "RetinaNet", "FCOS")


class Heads(nn.Module):
    """The backbone and the heads of a detector of torchvision, without its resizing, its anchors and its NMS.

    Images [n, 3, H, W], normalized, become what the heads give: `bbox_regression` [n, k, 4], `cls_logits`
    [n, k, classes], and for FCOS `bbox_ctrness` [n, k, 1].

    Args:
        detector: of torchvision's `SSD`, `RetinaNet` or `FCOS`.
        categories: the names of its output classes, as the `meta` of torchvision's weights has them; those called
            `__background__` or `N/A` are no classes, and the others are numbered without them. None: all are classes.
    """

    def __init__(self, detector: Any, categories: Sequence[str] | None = None) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.backbone
        self.head: nn.Module = detector.head
        self.normalization = Normalization(tuple(detector.transform.image_mean), tuple(detector.transform.image_std))
        self.labels = None if categories is None else tuple(name for name in categories if _is_class(name))
        make, values = _described(detector)
        self._make_decoder, self._decoder_values = make, values
        values["classes"] = None if categories is None else _numbers(categories)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps that the heads see."""
        maps: Any = self.backbone(x)
        return [maps] if isinstance(maps, Tensor) else list(maps.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the heads, by name, the boxes first."""
        outputs = self.head(self.features(x))
        return {name: outputs[name] for name in ("bbox_regression", "cls_logits", "bbox_ctrness") if name in outputs}

    def decoder(self, size: tuple[int, int]) -> Decoder:
        """Return what makes boxes of the outputs for images of *size* (H, W)."""
        device = next(self.parameters()).device
        with torch.no_grad():
            maps = self.features(torch.zeros(1, 3, *size, device=device))
        grids = tuple((one.shape[-2], one.shape[-1]) for one in maps)
        return self._make_decoder(size=size, grids=grids, **self._decoder_values)


def is_detector(module: nn.Module) -> bool:
    """Whether *module* is a detector of torchvision's, which has NMS inside and cannot be exported as it is."""
    return _kind(module) is not None


def heads_of(module: nn.Module, categories: Sequence[str] | None = None) -> Heads:
    """Return the backbone and heads of a detector of torchvision's; *categories* are as for `Heads`.

    Raises:
        EdgecnnError: it has two stages: the boxes of the first decide what the second computes.
    """
    if _kind(module) not in _ONE_STAGE:
        raise EdgecnnError(
            f"{type(module).__name__} looks closer at the boxes that its first stage finds, as many as there are in an "
            f"image: no file of fixed shapes does that; use a detector with one stage (SSD, SSDLite, RetinaNet, FCOS), "
            f"or export module.backbone by itself"
        )
    return Heads(module, categories)


def _described(module: Any) -> tuple[Callable[..., Decoder], dict[str, Any]]:
    """Return the decoder of a detector, and its parameters but for those that the size of the input decides."""
    generator, kind = module.anchor_generator, _kind(module)
    common: dict[str, Any] = {
        "score_threshold": float(module.score_thresh),
        "nms_threshold": float(module.nms_thresh),
        "candidates": int(module.topk_candidates),
        "detections": int(module.detections_per_img),
    }
    if kind == "FCOS":
        return Fcos, common | {"anchor_sizes": tuple(float(sizes[0]) for sizes in generator.sizes)}
    common["weights"] = tuple(map(float, module.box_coder.weights))
    common["aspect_ratios"] = tuple(tuple(map(float, one)) for one in generator.aspect_ratios)
    if kind == "RetinaNet":
        return RetinaNet, common | {"anchor_sizes": tuple(tuple(map(float, one)) for one in generator.sizes)}
    return Ssd, common | {
        "scales": tuple(map(float, generator.scales)),
        "steps": None if generator.steps is None else tuple(map(float, generator.steps)),
        "clip_anchors": bool(generator.clip),
    }


def _kind(module: nn.Module) -> str | None:
    """Return the class of torchvision's detectors that *module* is of; None: it is none of them."""
    for cls in type(module).__mro__:
        if cls.__module__.startswith("torchvision.models.detection."):
            return cls.__name__
    return None


def _numbers(categories: Sequence[str]) -> tuple[int, ...]:
    """Return the class number of each output, -1 for the background and for gaps."""
    known = [_is_class(name) for name in categories]
    return tuple(sum(known[:index]) if there else -1 for index, there in enumerate(known))


def _is_class(name: str) -> bool:
    return name not in ("__background__", "N/A")
