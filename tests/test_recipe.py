"""Recipes: the shipped ones load, broken ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.recipe import load_recipe, recipe_names


def test_the_shipped_recipes_load() -> None:
    """Phone, board, mcu and x86 are there and write at least one file each."""
    assert {"board", "mcu", "phone", "x86"} <= set(recipe_names())
    for name in recipe_names():
        assert any(load_recipe(name).files.values())


def test_the_mcu_recipe_is_integers_throughout() -> None:
    """A microcontroller's file takes and gives int8."""
    recipe = load_recipe("mcu")
    assert (recipe.input_dtype, recipe.output_dtype) == ("int8", "int8")


def test_the_key_of_earlier_recipes_is_read(tmp_path: Path) -> None:
    """A recipe written when there was nothing but accuracy keeps its limit."""
    body = "title = 'mine'\n[files]\nonnx = ['fp32']\n[limits.fp32]\nmax_accuracy_drop = 0.02\n"
    (tmp_path / "mine.toml").write_text(body)
    assert load_recipe(tmp_path / "mine.toml").limits["fp32"].max_drop == 0.02


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("files = { onnx = ['fp16'] }", "unknown onnx precision 'fp16'.*fp32, w8, w8a8"),
        ("files = { oonx = ['fp32'] }", "did you mean 'onnx'"),
        ("files = { onnx = ['fp32'] }\ninput_dtype = 'int4'", "unknown dtype"),
        ("files = { onnx = ['fp32'] }\nbundle = ['lables']", "did you mean 'labels'"),
        ("files = { onnx = ['fp32'] }\ncalibration = { samples = 0 }", "at least one sample"),
        ("files = { onnx = ['fp32'] }\ncalibratoin = {}", "did you mean 'calibration'"),
        (
            "[files]\nonnx = ['fp32']\n[limits.fp32]\nmax_drop = 1",
            r"mine\.toml.*a fraction, 0.01 for one point",
        ),
        ("[files]\nonnx = ['fp32']\n[limits.fp32]\nmin_agreement = 99", r"mine\.toml.*a fraction, 0.99 for 99 %"),
    ],
)
def test_a_broken_recipe_is_told(tmp_path: Path, body: str, told: str) -> None:
    """Each mistake ends in one line with what is known."""
    path = tmp_path / "mine.toml"
    path.write_text(f"title = 'mine'\n{body}\n")
    with pytest.raises(EdgecnnError, match=told):
        load_recipe(str(path))


def test_an_unknown_recipe_has_a_near_match() -> None:
    """`bord` is told from `board`."""
    with pytest.raises(EdgecnnError, match="did you mean 'board'"):
        load_recipe("bord")
