"""Train the networks of the table of tasks in plain torch: `python train.py FOLDER [NAME …]` writes FOLDER/NAME.pth.

Detectors and segmenters learn from `scenes`, the others from what `samples.py` generates; minutes each on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networks
import numpy as np
import samples
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name in all examples)

from edgecnn import open_dataset
from edgecnn.tasks.heads import Ssd

EPOCHS = {
    "tiny_yolo": 14,
    "tiny_ssd": 8,
    "tiny_unet": 3,
    "tiny_lraspp": 9,
    "beats": 8,
    "gauge": 15,
    "gauge_and_kind": 15,
}
LEARNING_RATE, BATCH = 4e-3, 32

#: SSD's parameters, which its training and its decoder share.
SSD = Ssd(
    size=(networks.SIDE, networks.SIDE),
    grids=networks.TinySsd.grids,
    aspect_ratios=((2.0,), (2.0,)),
    scales=networks.TinySsd.scales,
)


def corners(centred: Tensor) -> Tensor:
    return torch.cat([centred[..., :2] - centred[..., 2:] / 2, centred[..., :2] + centred[..., 2:] / 2], -1)


def giou_loss(found: Tensor, true: Tensor) -> Tensor:
    """Return 1 - generalized IoU of boxes [k, 4] (Rezatofighi et al. 2019), their mean."""
    from torchvision.ops import generalized_box_iou_loss

    return generalized_box_iou_loss(found, true, reduction="mean")


def yolo_loss(module: Any, x: Tensor, targets: Any) -> Tensor:
    """The cell of an object's centre, and the next one on each side where the centre is nearer to it, find it."""
    boxes, logits = module.heads(x)
    wanted = torch.zeros_like(logits)
    found, true = [], []
    for number, objects in enumerate(targets):
        for box, digit in zip(torch.from_numpy(objects.xyxy).float(), objects.classes, strict=True):
            centre = (box[:2] + box[2:]) / 2 / module.stride
            cell = centre.long()
            for shift in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
                near = cell + torch.tensor(shift)
                apart = (near + 0.5 - centre).abs().max()
                if apart < 1.0 and near.min() >= 0 and near.max() < logits.shape[-1]:
                    column, row = near.tolist()
                    found.append(boxes[number, :, row, column])
                    true.append(box)
                    wanted[number, digit, row, column] = 1
    probability = torch.sigmoid(logits).detach()
    weight = torch.where(wanted > 0, 1.0, probability**2)  # Lin et al. 2017: easy negatives hardly count
    classes = F.binary_cross_entropy_with_logits(logits.float(), wanted, weight, reduction="sum") / max(len(found), 1)
    return classes + 2 * giou_loss(corners(torch.stack(found).float()), torch.stack(true))


def ssd_loss(module: Any, x: Tensor, targets: Any) -> Tensor:
    """Liu et al. 2016: anchors that overlap an object by half find it, and three times as many learn the background."""
    from torchvision.ops import box_iou

    outputs = {name: output.float() for name, output in module(x).items()}
    anchors = torch.from_numpy(SSD.anchors).float()
    sizes, centres = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
    offsets, classes = torch.zeros(len(x), len(anchors), 4), torch.zeros(len(x), len(anchors), dtype=torch.long)
    for number, objects in enumerate(targets):
        boxes = torch.from_numpy(objects.xyxy).float()
        overlap = box_iou(anchors, boxes)
        best, at = overlap.max(1)
        best[overlap.argmax(0)], at[overlap.argmax(0)] = 1.0, torch.arange(len(boxes))
        chosen = boxes[at]
        own, middle = chosen[:, 2:] - chosen[:, :2], (chosen[:, :2] + chosen[:, 2:]) / 2
        offsets[number] = torch.cat([(middle - centres) / sizes * 10, torch.log(own / sizes) * 5], 1)
        classes[number] = torch.where(best >= 0.5, torch.from_numpy(objects.classes)[at] + 1, 0)
    positive = classes > 0
    loss = F.cross_entropy(outputs["cls_logits"].flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
    negative = loss.masked_fill(positive, -1).flatten().sort(descending=True).values[: 3 * int(positive.sum())]
    moved = F.smooth_l1_loss(outputs["bbox_regression"][positive], offsets[positive], reduction="sum")
    return (loss[positive].sum() + negative.sum() + moved) / positive.sum()


def segmentation_loss(module: nn.Module, x: Tensor, targets: Any) -> Tensor:
    masks = torch.from_numpy(targets).long()
    logits = module(x).float()
    if logits.shape[-1] != masks.shape[-1]:
        logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear", align_corners=False)
    weight = torch.ones(networks.DIGITS + 1)
    weight[0] = 0.3  # the ground is nine tenths of the pixels
    return F.cross_entropy(logits, masks, weight)


def class_loss(module: nn.Module, x: Tensor, targets: Any) -> Tensor:
    return F.cross_entropy(module(x), torch.from_numpy(targets))


def value_loss(module: nn.Module, x: Tensor, targets: Any) -> Tensor:
    return F.mse_loss(module(x).float(), torch.from_numpy(targets))


def both_loss(module: nn.Module, x: Tensor, targets: Any) -> Tensor:
    outputs, both = module(x), torch.from_numpy(targets)
    kind = F.cross_entropy(outputs["kind"].float(), both[:, 2].long())
    return 4 * F.mse_loss(outputs["reading"].float(), both[:, :2]) + kind


LOSSES: dict[str, Callable[[Any, Tensor, Any], Tensor]] = {
    "tiny_yolo": yolo_loss,
    "tiny_ssd": ssd_loss,
    "tiny_unet": segmentation_loss,
    "tiny_lraspp": segmentation_loss,
    "beats": class_loss,
    "gauge": value_loss,
    "gauge_and_kind": both_loss,
}


def data_of(name: str, folder: Path) -> Any:
    """Return the data set of a network."""
    if name in ("tiny_yolo", "tiny_ssd"):
        return open_dataset("scenes:detection", side=(networks.SIDE, networks.SIDE))
    if name in ("tiny_unet", "tiny_lraspp"):
        return open_dataset("scenes:segmentation", side=(networks.SIDE, networks.SIDE))
    return open_dataset(f"npz:{folder / name}.npz")


def batches(x: Any, y: Any, rng: np.random.Generator) -> Iterator[tuple[Tensor, Any]]:
    order = rng.permutation(len(x))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        pixels = torch.from_numpy(x[chosen])
        yield (pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels), y[chosen]


def train(name: str, folder: Path) -> None:
    """Train one network and write its weights."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    training = data_of(name, folder).training
    x, y = training.images[training.indices], training.labels[training.indices]
    module = getattr(networks, name)().train().to(memory_format=torch.channels_last)
    steps = EPOCHS[name] * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    started = time.monotonic()
    for epoch in range(EPOCHS[name]):
        losses = []
        for pixels, targets in batches(x, y, rng):
            optimizer.zero_grad()
            pixels = pixels.to(memory_format=torch.channels_last) if pixels.ndim == 4 else pixels
            with torch.autocast("cpu", torch.bfloat16, enabled=x.ndim == 4):  # half the time on one core
                loss = LOSSES[name](module, pixels, targets)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"{name}: epoch {epoch + 1}, loss {np.mean(losses):.4f}, {time.monotonic() - started:.0f} s", flush=True)
    torch.save(module.eval().to(memory_format=torch.contiguous_format).state_dict(), folder / f"{name}.pth")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    samples.write(place)
    for chosen in sys.argv[2:] or list(EPOCHS):
        train(chosen, place)
