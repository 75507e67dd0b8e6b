"""`coco:DIR`: images, and the boxes of their objects in JSON as COCO writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import numpy as np

from edgecnn.datasets import DataRequest, Dataset, training_part
from edgecnn.datasets.images import (
    ImageFiles,
    Size,
    check_channels,
    common_side,
    is_there,
    placed_boxes,
    size_of,
    stretched,
)
from edgecnn.errors import EdgecnnError, require
from edgecnn.normalization import Normalization, Resize
from edgecnn.parsing import convert, read_json
from edgecnn.samples import Samples
from edgecnn.tasks.boxes import Boxes, per_image

EVALUATION_SHARE = 0.2
#: What the files and folders of the two parts are called, the best first.
_TRAINING, _EVALUATION = ("train",), ("val", "test")
_OTHERS = ("caption", "keypoint", "panoptic", "stuff", "image_info")  # annotations of other kinds, beside COCO's


class _NamedImage(TypedDict):
    id: int
    file_name: str


class _Image(_NamedImage, total=False):
    width: int
    height: int


class _NumberedCategory(TypedDict):
    id: int


class _Category(_NumberedCategory, total=False):
    name: str


class _Object(TypedDict):
    image_id: int
    category_id: int
    bbox: list[float]


class _Annotation(_Object, total=False):
    iscrowd: int


@dataclass(frozen=True)
class Annotations:
    """The objects of one JSON file; everything in it is checked when it is read."""

    path: Path
    images: Sequence[_Image]
    categories: dict[int, str]  # by id, in the order of the ids, which may have gaps
    objects: Sequence[_Annotation]

    @classmethod
    def read(cls, path: Path) -> Annotations:
        """Read a file.

        Raises:
            EdgecnnError: not JSON, not COCO's form, or annotations of images or categories that are not in it.
        """
        document = read_json(path)
        if not isinstance(document, dict):
            raise EdgecnnError(f"{path}: expected an object with images, annotations and categories")
        images = _rows(path, document, "images", _Image)
        categories = {
            one["id"]: str(one.get("name", one["id"])) for one in _rows(path, document, "categories", _Category)
        }
        objects = _rows(path, document, "annotations", _Annotation)
        known = {one["id"] for one in images}
        if len(known) < len(images) or not images:
            raise EdgecnnError(f"{path}: {'two images have the same id' if images else 'it lists no images'}")
        for number, one in enumerate(objects):
            if one["image_id"] not in known:
                raise EdgecnnError(f"{path}: annotations[{number}] is for image {one['image_id']}, which is not listed")
            if one["category_id"] not in categories:
                raise EdgecnnError(
                    f"{path}: annotations[{number}] has category {one['category_id']}; categories has "
                    f"{', '.join(map(str, list(categories)[:12]))}"
                )
            if len(one["bbox"]) != 4 or min(one["bbox"][2:]) < 0:
                raise EdgecnnError(
                    f"{path}: annotations[{number}]: bbox is left, top, width and height in pixels, found {one['bbox']}"
                )
        if not objects:
            raise EdgecnnError(f"{path}: it has no annotations, and so nothing to detect")
        return cls(path, images, dict(sorted(categories.items())), objects)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their ids."""
        return tuple(self.categories.values())

    @cached_property
    def without_objects(self) -> int:
        """How many images have no annotations."""
        return len(self.images) - len({one["image_id"] for one in self.objects})

    def boxes(self, sizes: Sequence[Size]) -> list[Boxes]:
        """Return the objects of each image, in pixels of the images, which have *sizes*.

        Raises:
            EdgecnnError: a box lies outside of its image.
        """
        numbers = {category: number for number, category in enumerate(self.categories)}
        of_image: dict[int, list[_Annotation]] = {one["id"]: [] for one in self.images}
        for one in self.objects:
            of_image[one["image_id"]].append(one)
        return [
            self._boxes(image, of_image[image["id"]], numbers, size)
            for image, size in zip(self.images, sizes, strict=True)
        ]

    def _boxes(self, image: _Image, objects: Sequence[_Annotation], numbers: dict[int, int], size: Size) -> Boxes:
        corners = np.asarray([one["bbox"] for one in objects], np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        outside = (corners[:, :2] >= size[::-1]).any(axis=1) | (corners[:, 2:] < 0).any(axis=1)
        if outside.any():
            raise EdgecnnError(
                f"{self.path}: image {image['id']} ({image['file_name']}) of {size[1]}x{size[0]} pixels has a box "
                f"outside of it: {objects[int(outside.argmax())]['bbox']}"
            )
        return Boxes(
            corners.clip(0, [size[1], size[0]] * 2),
            np.asarray([numbers[one["category_id"]] for one in objects], np.int64),
            np.asarray([bool(one.get("iscrowd", 0)) for one in objects], bool),
        )


def open_coco(request: DataRequest) -> Dataset:
    """Return images with boxes, for detection.

    DIR holds `annotations/instances_train2017.json` and `…_val2017.json` beside the folders `train2017` and `val2017`,
    or folders `train` and `val` with a JSON file in each, or one JSON file, of whose images a fifth is for evaluation.
    Images lie beside their JSON file, in DIR, in `images`, or in a folder that has the name of the part.

    Categories are numbered in the order of their ids, which may have gaps. Images without objects count as such. Images
    come to the network's size with their boxes: stretched, or as `--resize` says.

    Raises:
        EdgecnnError: no such folder, no annotations or several that cannot be told apart, images that are not there,
            or as `Annotations.read`.
    """
    root = Path(request.argument)
    channels = check_channels(request, f"coco:{root}")
    if not root.exists():
        raise EdgecnnError(f"no folder at '{root}' (for --data coco:DIR)")
    training, evaluation = _parts(root)
    judged = Annotations.read(evaluation or training or root)
    paths = _paths(root, judged)
    side = request.side or common_side(paths)
    resize, assumptions = stretched(request, [ImageFiles(paths, side)])
    if judged.without_objects:
        assumptions += (
            f"{judged.without_objects} of {len(judged.images)} images have no annotations, and so no objects",
        )
    read = partial(_samples, root, side=side, resize=resize, channels=channels)
    whole = read(judged)
    if evaluation is None:
        first, part = whole.split_or_whole(EVALUATION_SHARE)
    else:
        first, part = None, whole

    def read_training() -> Samples:
        if training is None or evaluation is None:
            return training_part(first, f"{root}", "add a folder train with its annotations")
        annotations = Annotations.read(training)
        if annotations.categories != judged.categories:
            raise EdgecnnError(f"{training} and {evaluation} have different categories; they must be the same")
        return read(annotations)

    normalization = Normalization.parse("unit")
    return Dataset(root.stem, read_training, lambda: part, normalization, judged.labels, assumptions, "detection")


def _samples(root: Path, annotations: Annotations, *, side: Size, resize: Resize, channels: int) -> Samples:
    paths = _paths(root, annotations)
    sizes = _sizes(annotations, paths)
    boxes = (placed_boxes(one, size, side, resize) for one, size in zip(annotations.boxes(sizes), sizes, strict=True))
    return Samples.of(ImageFiles(paths, side, resize, channels, sizes), per_image(boxes))


def _sizes(annotations: Annotations, paths: Sequence[Path]) -> list[Size]:
    """Return the height and width of each image, as the annotations say, else as its file says."""
    pillow = require("PIL.Image", "torch")
    return [
        (one["height"], one["width"]) if one.get("height", 0) > 0 and one.get("width", 0) > 0 else size_of(pillow, path)
        for one, path in zip(annotations.images, paths, strict=True)
    ]


def _rows(path: Path, document: dict[str, Any], key: str, form: Any) -> list[Any]:
    """Return a list of the document, each entry of the *form* and with nothing else in it.

    Raises:
        EdgecnnError: it is not there, or an entry is not of the form.
    """
    rows = document.get(key)
    if not isinstance(rows, list):
        raise EdgecnnError(f"{path}: no list '{key}' in it; COCO's files have images, annotations and categories")
    hints, required = get_type_hints(form), form.__required_keys__
    found = []
    for number, row in enumerate(rows):
        missing = sorted(required - row.keys()) if isinstance(row, dict) else ["an object"]
        if missing:
            raise EdgecnnError(f"{path}: {key}[{number}] lacks {', '.join(missing)}")
        where = f"{path}: {key}[{number}]"
        found.append({name: convert(hints[name], row[name], f"{where}: {name}") for name in hints if name in row})
    return found


def _parts(root: Path) -> tuple[Path | None, Path | None]:
    """Return the annotations to train on and those to judge by; where there is one file for both, it is the first.

    Raises:
        EdgecnnError: there are none, or several without the name of a part.
    """
    if root.is_file():
        return root, None
    found = [
        path
        for pattern in ("*.json", "annotations/*.json", "*/*.json")
        for path in sorted(root.glob(pattern))
        if path.is_file() and not any(other in path.name.lower() for other in _OTHERS)
    ]
    found = list(dict.fromkeys(found))
    training = _named(root, found, _TRAINING)
    evaluation = _named(root, found, _EVALUATION)
    if training is None and evaluation is None:
        if len(found) != 1:
            listed = ", ".join(str(path.relative_to(root)) for path in found[:4]) or "none"
            raise EdgecnnError(
                f"{root}: expected one JSON file of annotations, or one each for train and val, in DIR, "
                f"DIR/annotations or DIR/PART; found {listed}"
            )
        return found[0], None
    return training, evaluation


def _named(root: Path, paths: Sequence[Path], names: Sequence[str]) -> Path | None:
    for name in names:
        for path in paths:
            if any(name in part.lower() for part in path.relative_to(root).parts):
                return path
    return None


def _paths(root: Path, annotations: Annotations) -> list[Path]:
    """Return the file of each image.

    Raises:
        EdgecnnError: some are not there.
    """
    names = [one["file_name"] for one in annotations.images]
    folders = list(_folders(root, annotations.path))
    folder = next((one for one in folders if is_there(one / names[0])), folders[0])
    paths = [folder / name for name in names]
    missing = [path for path in paths if not is_there(path)]
    if missing:
        looked = ", ".join(str(one) for one in folders)
        raise EdgecnnError(
            f"{annotations.path}: {len(missing)} of its {len(paths)} images are not there, the first is "
            f"{missing[0].name[:60]}; looked in {looked}"
        )
    return paths


def _folders(root: Path, path: Path) -> Iterator[Path]:
    """Yield where the images of the annotations at *path* may lie."""
    base = root if root.is_dir() else root.parent
    part = path.stem.rpartition("_")[2]  # instances_val2017
    folders = (path.parent, base / part, base / "images" / part, base, base / "images", path.parent / "images")
    yield from dict.fromkeys(folders)
