"""The credit card sample: split and scaled without a look at the evaluation part; what is no such file is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.datasets import DataSource, open_dataset
from edgecnn.datasets.creditcard import CLIP
from edgecnn.errors import EdgecnnError

HEADER = ",".join(["Time", *(f"V{number}" for number in range(1, 29)), "Amount", "Class"])


def write_transactions(folder: Path, count: int = 200, header: str = HEADER, frauds: int = 20) -> np.ndarray:  # type: ignore[type-arg]
    """Write *count* rows, the first *frauds* of them frauds, and return the 29 features."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.arange(count), rng.normal(5, 3, (count, 29)), np.arange(count) < frauds])
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join([*map(repr, map(float, row[:-1])), str(int(row[-1]))]) for row in rows)]
    (folder / "creditcard_partial.csv").write_text("\n".join(lines) + "\n")
    return rows[:, 1:-1]


def test_transactions_are_split_by_class_and_scaled_by_the_training_part(tmp_path: Path) -> None:
    """Each class falls apart 70 to 30; mean and deviation come from the 70; nothing lies beyond the clip."""
    features = write_transactions(tmp_path / "creditcard")
    data = open_dataset(DataSource("creditcard", folder=tmp_path))
    training, evaluation = data.training, data.evaluation
    assert (data.shape, data.labels, data.normalization) == ((29,), ("normal", "fraud"), None)
    assert not set(training.indices) & set(evaluation.indices)
    assert training.labels is not None
    assert [int(training.labels[part.indices].sum()) for part in (training, evaluation)] == [14, 6]
    assert [len(training), len(evaluation)] == [140, 60]
    seen = features[training.indices]
    expected = ((features - seen.mean(0)) / seen.std(0)).clip(-CLIP, CLIP)
    np.testing.assert_allclose(training.images[np.arange(200)], expected, atol=1e-6)
    again = open_dataset(DataSource("creditcard", folder=tmp_path / "creditcard"))
    assert (again.training.indices == training.indices).all()


def test_a_constant_column_stays_finite(tmp_path: Path) -> None:
    """A feature that never changes becomes zero, not a division by zero."""
    write_transactions(tmp_path)
    path = tmp_path / "creditcard_partial.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(",".join([*row.split(",")[:-2], "7.5", row[-1]]) for row in rows)]))
    data = open_dataset(DataSource("creditcard", folder=tmp_path))
    assert (data.evaluation.images[np.arange(200)][:, 28] == 0).all()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1,2,3", "line 4 is not 31 numbers"),
        (",".join(["0"] * 30), "line 4 is not 31 numbers"),
        (",".join(["nan", *["0"] * 30]), "line 4 is not 31 numbers"),
        (",".join(["0"] * 30 + ["2"]), "line 4 is not 31 numbers that end in 0 or 1"),
        (",".join(["zero"] * 31), "line 4 is not 31 numbers"),
        ("", "line 4 is not 31 numbers"),
    ],
)
def test_a_line_that_is_not_whole_is_numbered(tmp_path: Path, line: str, told: str) -> None:
    """A line that is cut, longer, empty, not finite or of no class is told by its number."""
    write_transactions(tmp_path)
    path = tmp_path / "creditcard_partial.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[4:]]))
    with pytest.raises(EdgecnnError, match=told):
        open_dataset(DataSource("creditcard", folder=tmp_path))


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    """A file that ends within a line is told, and one that ends before its second class."""
    write_transactions(tmp_path)
    path = tmp_path / "creditcard_partial.csv"
    whole = path.read_text()
    path.write_text(whole[:-30])
    with pytest.raises(EdgecnnError, match="line 201 is not 31 numbers"):
        open_dataset(DataSource("creditcard", folder=tmp_path))
    path.write_text("\n".join(whole.splitlines()[:11]))
    with pytest.raises(EdgecnnError, match="10 rows, 10 of them frauds: too few to split"):
        open_dataset(DataSource("creditcard", folder=tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\xff\xfe", b"a,b\n1,2\n", b"Time,V1\n"])
def test_another_file_is_told(tmp_path: Path, content: bytes) -> None:
    """Empty, binary and foreign files end in one line that names the file."""
    (tmp_path / "creditcard_partial.csv").write_bytes(content)
    with pytest.raises(EdgecnnError, match=r"creditcard_partial\.csv: not "):
        open_dataset(DataSource("creditcard", folder=tmp_path))


def test_a_file_that_is_not_there_promises_no_download(tmp_path: Path) -> None:
    """The message says where it looked, and that nothing fetches it."""
    with pytest.raises(EdgecnnError, match=r"it cannot be downloaded: put creditcard_partial\.csv there"):
        open_dataset(DataSource("creditcard", download=True, folder=tmp_path))
