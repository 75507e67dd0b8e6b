"""Data sets: found in every layout, split honestly, and told apart from what is broken or not there."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgecnn.datasets import Dataset, DataSource, open_dataset
from edgecnn.datasets.digits import read_digits
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Resize
from edgecnn.tasks.boxes import Boxes, per_image

RNG = np.random.default_rng(0)


def test_digits_are_whole_and_their_parts_disjoint() -> None:
    """The digits come with the install: 1 797 images, 70 % to train on, none of those to evaluate on."""
    data = open_dataset("digits")
    assert (len(data.training), len(data.evaluation), data.shape) == (1258, 539, (1, 8, 8))
    assert not set(data.training.indices) & set(data.evaluation.indices)
    assert data.labels == tuple("0123456789")


def test_digits_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read without importing scikit-learn is what it gives; where its file is not, it is asked."""
    sklearn = pytest.importorskip("sklearn.datasets")
    given = sklearn.load_digits()
    for _ in range(2):
        images, target = read_digits()
        assert np.array_equal(images, given.images)
        assert np.array_equal(target, given.target)
        monkeypatch.setattr("pathlib.Path.is_file", lambda path: False)


def test_calibration_comes_from_training_alone() -> None:
    """No calibration sample is an evaluation sample."""
    data = open_dataset("digits")
    calibration = data.calibration(256)
    assert len(calibration) == 256
    assert set(calibration.indices) <= set(data.training.indices)


def cifar10_records(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return labels [n, 1] and pixels [n, 3072]."""
    return RNG.integers(0, 10, (count, 1), np.uint8), RNG.integers(0, 256, (count, 3072), np.uint8)


def python2_pickle(labels: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return the opcodes of CIFAR's Python files: a dict with a BINSTRING of pixels and a list of BININT1."""
    items = b"".join(b"K" + bytes([label]) for label in labels.ravel())
    raw = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01T" + struct.pack("<I", len(raw)) + raw
    return b"\x80\x02}q\x00(U\x04dataq\x02" + array + b"U\x06labelsq\x03](" + items + b"eU\x05otherK\x07u."


def write_cifar10(folder: Path, layout: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Write a tiny CIFAR-10 in one of its layouts and return the labels and pixels of its test part."""
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]:
        labels, pixels = cifar10_records(7)
        if layout == "bin":
            (folder / f"{name}.bin").write_bytes(np.hstack([labels, pixels]).tobytes())
        else:
            (folder / name).write_bytes(python2_pickle(labels, pixels))
    return labels, pixels


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_cifar10_is_read_in_the_official_layout_and_torchvisions(tmp_path: Path, layout: str) -> None:
    """Both layouts give the same images; the pickled one is read without unpickling."""
    folder = {"bin": "cifar-10-batches-bin", "py": "cifar-10-batches-py"}[layout]
    labels, pixels = write_cifar10(tmp_path / folder, layout)
    data = open_dataset(DataSource("cifar10", folder=tmp_path))
    assert len(data.training) == 35
    batch = next(iter(data.evaluation))
    assert batch.y is not None
    assert batch.y.tolist() == labels.ravel().tolist()
    assert (batch.x.reshape(-1, 3072) == pixels).all()


def test_a_cifar_pickle_runs_nothing(tmp_path: Path) -> None:
    """A pickle that would run code when loaded is read or refused, and the code does not run."""
    write_cifar10(tmp_path / "cifar-10-batches-py", "py")
    mark = tmp_path / "ran"
    evil = b"\x80\x02cos\nsystem\n(U" + bytes([len(f"touch {mark}")]) + f"touch {mark}".encode() + b"tR."
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(evil)
    with pytest.raises(EdgecnnError, match="fetch it again"):
        assert open_dataset(DataSource("cifar10", folder=tmp_path)).training
    assert not mark.exists()


def test_a_cut_cifar_file_is_told(tmp_path: Path) -> None:
    """A file that ends within a record is named."""
    write_cifar10(tmp_path / "cifar-10-batches-bin", "bin")
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EdgecnnError, match=r"test_batch\.bin.*fetch it again"):
        assert open_dataset(DataSource("cifar10", folder=tmp_path)).evaluation


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_raw_and_gzipped(tmp_path: Path, packed: bool) -> None:
    """Idx files are read as torchvision lays them out, gzipped or not."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    images = RNG.integers(0, 256, (5, 28, 28), np.uint8)
    labels = RNG.integers(0, 10, 5, np.uint8)
    for split in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            content += array.tobytes()
            path = folder / f"{split}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    data = open_dataset(DataSource("mnist", folder=tmp_path))
    assert data.shape == (1, 28, 28)
    assert (next(iter(data.training)).x[:, 0] == images).all()


def test_data_that_are_not_there_say_where_they_were_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the folder and how to get the data; without a folder, how to give one."""
    with pytest.raises(EdgecnnError, match=rf"{tmp_path}.*--download"):
        open_dataset(DataSource("cifar10", folder=tmp_path))
    monkeypatch.delenv("EDGECNN_DATA", raising=False)
    with pytest.raises(EdgecnnError, match=r"--data-dir DIR or set EDGECNN_DATA"):
        open_dataset("mnist")


def test_an_unknown_data_set_has_a_near_match() -> None:
    """`cifar` is told from `cifar10`, and a path behind the wrong name is refused."""
    with pytest.raises(EdgecnnError, match=r"did you mean 'cifar10"):
        open_dataset("cifar1")
    with pytest.raises(EdgecnnError, match="only these have a part after the colon: folder:DIR"):
        open_dataset("digits:here")


def make_folder(root: Path, per_class: int) -> None:
    """Write a few images of two classes: dark and bright."""
    for name, level in (("bright", 200), ("dark", 30)):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            Image.fromarray(np.full((40, 30, 3), level + number, np.uint8)).save(root / name / f"{number}.png")


def test_a_folder_of_images_is_split_and_sized(tmp_path: Path) -> None:
    """Folders are classes; images come at the side asked for, and evaluation images are not trained on."""
    make_folder(tmp_path, 10)
    data: Dataset = open_dataset(f"folder:{tmp_path}", side=(16, 24))
    assert data.labels == ("bright", "dark")
    assert data.shape == (3, 16, 24)
    assert (len(data.training), len(data.evaluation)) == (16, 4)
    for batch in data.evaluation:
        assert batch.y is not None
        assert ((batch.x.mean((1, 2, 3)) < 100) == batch.y.astype(bool)).all()


def test_images_of_the_wanted_size_are_left_as_they_are(tmp_path: Path) -> None:
    """Images that have the size asked for, or agree on one, come pixel by pixel; others are cut to their centre."""
    pixels = RNG.integers(0, 256, (10, 12, 12, 3), np.uint8)
    for number, image in enumerate(pixels):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(number % 2) / f"{number}.png")
    for side in (None, (12, 12)):
        data = open_dataset(f"folder:{tmp_path}", side=side)
        assert data.shape == (3, 12, 12)
        seen = np.concatenate([b.x for b in (*data.training, *data.evaluation)])
        assert {x.tobytes() for x in seen} == {x.transpose(2, 0, 1).tobytes() for x in pixels}
    cut = open_dataset(f"folder:{tmp_path}", side=(6, 6), resize=Resize(12))
    centres = {np.ascontiguousarray(x[3:9, 3:9].transpose(2, 0, 1)).tobytes() for x in pixels}
    assert {x.tobytes() for b in cut.evaluation for x in b.x} <= centres


def test_the_training_part_is_not_read_to_evaluate(tmp_path: Path) -> None:
    """Evaluating CIFAR-10 reads its test file alone: a broken training file is not even opened."""
    write_cifar10(tmp_path / "cifar-10-batches-bin", "bin")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(b"broken")
    data = open_dataset(DataSource("cifar10", folder=tmp_path))
    assert len(data.evaluation) == 7
    with pytest.raises(EdgecnnError, match="data_batch_3"):
        assert data.training


def test_a_folder_with_its_own_parts_keeps_them(tmp_path: Path) -> None:
    """Where train and val exist, they are the parts; different classes in them are refused."""
    make_folder(tmp_path / "train", 4)
    make_folder(tmp_path / "val", 2)
    data = open_dataset(f"folder:{tmp_path}", side=(8, 8))
    assert (len(data.training), len(data.evaluation)) == (8, 4)
    (tmp_path / "val" / "third").mkdir()
    with pytest.raises(EdgecnnError, match="different classes"):
        open_dataset(f"folder:{tmp_path}", side=(8, 8))


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    """An image that cannot be decoded is named when it is met."""
    make_folder(tmp_path, 5)
    (tmp_path / "dark" / "0.png").write_bytes(b"no image")
    data = open_dataset(f"folder:{tmp_path}", side=(8, 8))
    with pytest.raises(EdgecnnError, match=r"0\.png: not a readable image"):
        list(data.training), list(data.evaluation)


def test_npz_takes_pixels_floats_and_channels_last(tmp_path: Path) -> None:
    """uint8 arrays are pixels, floats are ready inputs, channels last are turned, labels may be missing."""
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 256, (20, 9, 9, 3), np.uint8), y=np.arange(20) % 4)
    pixels = open_dataset(f"npz:{tmp_path / 'a.npz'}")
    assert pixels.shape == (3, 9, 9)
    assert pixels.normalization is not None
    assert pixels.labels is not None
    assert len(pixels.labels) == 4
    np.savez(tmp_path / "b.npz", x=RNG.normal(size=(20, 30)))
    ready = open_dataset(f"npz:{tmp_path / 'b.npz'}")
    assert (ready.normalization, ready.labels, ready.shape) == (None, None, (30,))


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"images": np.zeros((3, 1, 2, 2))}, "no array 'x' in it; it has: images"),
        ({"x": np.zeros((30, 1, 2, 2)), "y": np.zeros(29, np.int64)}, "29. targets for 30 samples"),
        ({"x": np.zeros((30, 2)), "y": np.asarray(["a"] * 30)}, "'y' must be numbers"),
        ({"x": np.zeros((30, 2)), "y": np.full(30, np.inf)}, "'y' holds values that are not finite"),
        ({"x": np.full((30, 1, 2, 2), np.nan)}, "not finite"),
        ({"x": np.asarray([{"a": 1}], object)}, "not a readable npz"),
        ({"x": np.zeros((0, 3, 8, 8), np.uint8)}, "'x' is empty"),
        ({"x": np.zeros((20, 3, 8, 8), np.uint8), "y": np.full(20, 10**12)}, "number them from 0"),
        ({"x": np.zeros((20, 4)), "y": np.arange(20) % 4, "labels": np.asarray(["a", "b"])}, "class number 3"),
        ({"x_train": np.zeros((20, 1, 2, 2))}, "no array 'x_test'"),
        ({"x": np.zeros((20, 4)), "y": np.arange(20) - 1}, "'y' holds -1; class numbers count from 0"),
    ],
)
def test_npz_refuses_what_it_cannot_use(tmp_path: Path, arrays: dict[str, npt.NDArray[np.generic]], told: str) -> None:
    """Each unusable file is told in one line, an object array without being unpickled."""
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(EdgecnnError, match=told):
        open_dataset(f"npz:{tmp_path / 'x.npz'}")


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.linspace(0, 1, 20), None),
        (np.zeros((20, 3), np.float32), None),
        (np.zeros((20, 8, 8), np.uint8), None),
        (np.arange(20, dtype=np.uint8) % 3, "classification"),
        (np.arange(20) % 2 == 0, "classification"),
        (per_image(Boxes([[0, 0, n, 4]], [1]) for n in range(20)), "detection"),
    ],
)
def test_arrays_have_targets_of_any_kind(y: npt.NDArray[Any], task: str | None) -> None:
    """Values, label images and boxes stay with their samples; whole numbers [n] alone are class numbers."""
    x = np.arange(20, dtype=np.float32)[:, None]
    data = open_dataset((x, y))
    assert data.task == task
    assert (data.training.class_numbers is not None) == (task == "classification")
    for batch in (*data.training, *data.evaluation):
        assert batch.y is not None
        assert batch.y.shape[1:] == y.shape[1:]
        for sample, target in zip(batch.x, batch.y, strict=True):
            expected = y[int(sample[0])]
            assert target is expected or np.array_equal(target, np.asarray(expected, batch.y.dtype))


def test_arrays_may_say_their_task(tmp_path: Path) -> None:
    """`task` in the file says what values are for."""
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 4)), y=np.zeros((20, 2)), task="regression")
    assert open_dataset(f"npz:{tmp_path / 'x.npz'}").task == "regression"


@pytest.mark.parametrize("layout", ["val", "test", "one a class"])
def test_a_folder_for_evaluation_alone_is_used_whole(tmp_path: Path, layout: str) -> None:
    """Without a part to train on, or with one image a class, every image is evaluated; calibrating is refused."""
    make_folder(tmp_path if layout == "one a class" else tmp_path / layout, 1 if layout == "one a class" else 7)
    data = open_dataset(f"folder:{tmp_path}", side=(8, 8))
    assert data.labels == ("bright", "dark")
    assert len(data.evaluation) == (2 if layout == "one a class" else 14)
    with pytest.raises(EdgecnnError, match="evaluation samples only, none for calibration"):
        data.calibration(1)


def test_a_training_folder_without_another_is_split(tmp_path: Path) -> None:
    """The folder `train` is no class, where no other stands beside it."""
    make_folder(tmp_path / "train", 10)
    data = open_dataset(f"folder:{tmp_path}", side=(8, 8))
    assert data.labels == ("bright", "dark")
    assert (len(data.training), len(data.evaluation)) == (16, 4)


@pytest.mark.parametrize("arrays", [{"x_test": 3, "y_test": 3}, {"x": 2, "y": 2}])
def test_npz_for_evaluation_alone_is_used_whole(tmp_path: Path, arrays: dict[str, int]) -> None:
    """As with folders: no `x_train`, or one sample a class."""
    made = {name: np.zeros((n, 4)) if name[0] == "x" else np.arange(n) for name, n in arrays.items()}
    np.savez(tmp_path / "a.npz", **made)
    data = open_dataset(f"npz:{tmp_path / 'a.npz'}")
    assert len(data.evaluation) == min(arrays.values())
    with pytest.raises(EdgecnnError, match="add x_train and y_train"):
        data.calibration(1)


def test_how_images_are_resized_is_said_where_nobody_said_how(tmp_path: Path) -> None:
    """A folder whose images have another size than the network says so, unless `--resize` or the size answers it."""
    make_folder(tmp_path, 5)
    told = "images are scaled to cover 8x8 pixels, and cropped to the centre"
    assert open_dataset(f"folder:{tmp_path}", side=(8, 8)).assumptions == (told,)
    assert "--resize 256:224" in open_dataset(f"folder:{tmp_path}", side=(224, 224)).assumptions[0]
    assert not open_dataset(f"folder:{tmp_path}", side=(40, 30)).assumptions
    assert not open_dataset(f"folder:{tmp_path}", side=(8, 8), resize=Resize(9)).assumptions


def test_other_data_are_not_resized() -> None:
    """A data set that has its size refuses `--resize` instead of passing over it."""
    with pytest.raises(EdgecnnError, match="'digits' cannot be resized"):
        open_dataset("digits", resize=Resize(256))


def test_a_folder_without_its_kind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a folder or of an npz file that is there is told with the kind in front of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    np.savez("arrays.npz", x=np.zeros((2, 2)))
    with pytest.raises(EdgecnnError, match="did you mean folder:shapes"):
        open_dataset("shapes")
    with pytest.raises(EdgecnnError, match=r"did you mean npz:arrays\.npz"):
        open_dataset("arrays.npz")


def test_classes_txt_orders_the_classes(tmp_path: Path) -> None:
    """Folders are numbered as classes.txt names them; names that are no folders are refused."""
    for place, name in enumerate(("low", "normal", "high")):
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("L", (8, 8), 10 * place + number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "classes.txt").write_text("low\nnormal\nhigh\n")
    data = open_dataset(f"folder:{tmp_path}", channels=1)
    assert data.labels == ("low", "normal", "high")
    assert [int(batch.x[0].max()) // 10 for batch in data.evaluation.batched(1)] == [0, 1, 2]
    assert [int(batch.y[0]) for batch in data.evaluation.batched(1) if batch.y is not None] == [0, 1, 2]
    (tmp_path / "classes.txt").write_text("low\nmiddle\nhigh\n")
    with pytest.raises(EdgecnnError, match=r"has the folders high, low, normal, classes\.txt names low, middle, high"):
        open_dataset(f"folder:{tmp_path}")
