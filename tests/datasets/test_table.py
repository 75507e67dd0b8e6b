"""`csv:FILE`: what the columns say is what the samples bear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ten images, each as bright as its number."""
    for number in range(10):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def table(folder: Path, header: str, rows: list[str]) -> str:
    """Write a table of the images and return its name for `--data`."""
    lines = [f"path,{header}", *(f"{number}.png,{row}" for number, row in enumerate(rows))]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 't.csv'}"


@pytest.mark.parametrize(
    ("header", "rows", "task", "labels", "expected"),
    [
        ("label", ["cat", "ant"] * 5, "classification", ("ant", "cat"), [1, 0] * 5),
        ("class", [f"{n % 2}" for n in range(10)], "classification", ("class 0", "class 1"), [0, 1] * 5),
        ("kind", ["a", "b"] * 5, "classification", ("a", "b"), [0, 1] * 5),
        ("wet,cold", [f"{n % 2},1" for n in range(10)], "multilabel", ("wet", "cold"), [[0, 1], [1, 1]] * 5),
        ("depth", [f"{n}.5" for n in range(10)], "regression", None, [[n + 0.5] for n in range(10)]),
        ("x,y", [f"{n},0.25" for n in range(10)], "regression", None, [[n, 0.25] for n in range(10)]),
        ("count", [f"{n}" for n in range(10)], "regression", None, [[n] for n in range(10)]),
    ],
)
def test_columns_are_targets(  # one row for each kind of table
    folder: Path, header: str, rows: list[str], task: str | None, labels: tuple[str, ...] | None, expected: list[object]
) -> None:
    """The task is what the columns say; each image keeps its row, whichever part it is in."""
    data = open_dataset(table(folder, header, rows), channels=1)
    assert (data.task, data.labels, data.shape) == (task, labels, (1, 8, 8))
    assert (len(data.training), len(data.evaluation)) == (8, 2)
    for batch in (*data.training, *data.evaluation):
        assert batch.y is not None
        for image, target in zip(batch.x, batch.y, strict=True):
            assert target.tolist() == expected[int(image[0, 0, 0])]


def test_the_split_may_be_given(folder: Path) -> None:
    """A column `split` decides; validation is judged by where a test part is there as well."""
    parts = ["train"] * 5 + ["val"] * 3 + ["test"] * 2
    data = open_dataset(table(folder, "class,split", [f"{n % 2},{part}" for n, part in enumerate(parts)]))
    assert (len(data.training), len(data.evaluation)) == (5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines below the first"),
        ("path,class\n", "no lines below the first"),
        ("name,class\n0.png,1\n", "no column 'path' in it; it has: name, class"),
        ("path,class\n0.png,1\n1.png\n", "line 3 has 1 columns, the first 2"),
        ("path,a,a\n0.png,1,1\n", "two columns have the same name"),
        ("path,a,b\n0.png,1,2\n1.png,1,x\n", r"column 'b' has 'x' among numbers \(sample 2\)"),
        ("path,a,b\n0.png,1,nan\n", "column 'b' has 'nan' among numbers"),
        ("path,class\n0.png,a\n1.png,\n", "column 'class' is empty for sample 2"),
        ("path,class\n0.png,-1\n", "column 'class' holds classes, names or numbers from 0 on"),
        ("path,class\n0.png,1e9\n", "column 'class' holds classes"),
        ("path,class,split\n0.png,1,dev\n", "split 'dev' is none of train"),
        ("path,class,split\n0.png,1,train\n", "no sample has the split val or test"),
        ("path,class\nnone.png,1\n", "no image at '.*none.png'"),
        ("\x00\xff\x00", "no lines|not a table|no column"),
    ],
)
def test_tables_that_are_none_are_told(folder: Path, text: str, message: str) -> None:
    """Each fault ends in one line with the file and the place."""
    (folder / "t.csv").write_text(text)
    with pytest.raises(EdgecnnError, match=message) as told:
        list(open_dataset(f"csv:{folder / 't.csv'}").evaluation)
    assert "\n" not in str(told.value)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The message says what the path is for."""
    with pytest.raises(EdgecnnError, match=r"no file at .* \(for --data csv:FILE\)"):
        open_dataset(f"csv:{tmp_path / 'none.csv'}")
