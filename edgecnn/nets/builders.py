"""Networks by name that other packages build: torchvision's detectors and segmentation networks, and timm's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from edgecnn.errors import require, unknown_name
from edgecnn.nets.detectors import heads_of, is_detector
from edgecnn.normalization import Normalization

#: Detector of torchvision → the side of the images that its anchors are made for; others take any.
_SIDES = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}


def torchvision_names(kind: str | None = None) -> list[str]:
    """Return the names of torchvision's classifiers; of its `detection` or `segmentation` networks with that *kind*."""
    models = require("torchvision.models", "torch")
    return list(models.list_models(module=getattr(models, kind) if kind else models))


def torchvision_dense(name: str, num_classes: int | None = None, weights: Any = None) -> nn.Module:
    """Return a detector or segmentation network of torchvision, with random weights unless *weights* are torchvision's.

    A detector is its backbone and heads: a dict of raw outputs, such as `bbox_regression` [N, k, 4] and `cls_logits`
    [N, k, classes]. Its boxes are decoded and suppressed in the application; the files say how, and are judged so.
    *num_classes* are those of the data, without a background.

    Raises:
        EdgecnnError: a detector of two stages.
    """
    models = require("torchvision.models", "torch")
    background = name.startswith("ssd")  # whose softmax needs a class for it
    given: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes + background}
    module: nn.Module = models.get_model(name, weights=weights, weights_backbone=None, **given)
    return heads_of(module, weights and weights.meta["categories"]) if is_detector(module) else module


def dense_shape(name: str) -> tuple[int, int, int] | None:
    """Return (C, H, W) of the images that *name* is made for; None: of any size."""
    return (3, _SIDES[name], _SIDES[name]) if name in _SIDES else None


def timm_network(name: str, num_classes: int | None = None) -> nn.Module:
    """Return the network *name* of timm, with random weights.

    Raises:
        EdgecnnError: timm is not installed, or does not know the name.
    """
    timm = require("timm", "timm")
    if name not in timm.list_models():
        raise unknown_name("timm network", name, timm.list_models(), "(timm.list_models() lists them)")
    given = {} if num_classes is None else {"num_classes": num_classes}
    module: nn.Module = timm.create_model(name, pretrained=False, **given)
    return module


def timm_preprocessing(module: nn.Module) -> tuple[tuple[int, ...], Normalization]:
    """Return the input shape (C, H, W) and the normalization that timm's *module* is made for."""
    config: Mapping[str, Any] = require("timm.data", "timm").resolve_model_data_config(module)
    return tuple(config["input_size"]), Normalization(tuple(config["mean"]), tuple(config["std"]))
