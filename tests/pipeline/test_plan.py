"""Plans as TOML files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.pipeline.plan import Plan, Round, TrainingSettings

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
METHODS = st.builds(
    TrainingSettings,
    criterion=NAMES,
    learning_rate=st.floats(1e-9, 1e3),
    flip=st.booleans(),
    seed=st.integers(0, 2**40),
    optimizer=st.sampled_from(("adamw", "sgd")),
)
ROUNDS = st.builds(
    Round, st.dictionaries(NAMES, st.floats(0, 1), max_size=3), st.integers(0, 9), st.floats(0, 1, exclude_max=True)
).filter(lambda one: bool(one.cuts or one.sparsity))
PLANS = st.builds(
    Plan,
    network=NAMES,
    layers=st.dictionaries(NAMES, st.lists(st.integers(1, 512), max_size=4).map(tuple), max_size=3),
    method=METHODS,
    rounds=st.lists(ROUNDS, max_size=3).map(tuple),
    epochs=st.integers(0, 100),
    data=NAMES,
)


@settings(max_examples=50, deadline=None)
@given(PLANS)
def test_a_plan_is_read_as_it_was_written(plan: Plan) -> None:
    """Any names of layers and units, any ratios, in the order in which they are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.toml"
        plan.write(path)
        again = Plan.read(path, criterion=plan.method.criterion)
    assert again == plan
    assert [list(one.cuts) for one in again.rounds] == [list(one.cuts) for one in plan.rounds]


LONG = Plan(
    "net",
    {"a.weight": (64, 3, 3, 3), "b.weight": (64, 64, 3, 3)},
    rounds=(Round({"a": 0.21875}, 1), Round({"a": 0.25, "b": 0.22916666}, 1), Round({}, 1, 0.5), Round({"b": 1.0}, 1)),
)


def test_a_plan_that_lost_its_end_is_told(tmp_path: Path) -> None:
    """Wherever its rounds were cut off, between lines or in the middle of a number: never fewer cuts without a word."""
    LONG.write(tmp_path / "whole.toml")
    text = (tmp_path / "whole.toml").read_bytes()
    assert Plan.read(tmp_path / "whole.toml") == LONG
    for end in range(text.index(b"[[rounds]]"), len(text)):
        (tmp_path / "part.toml").write_bytes(text[:end])
        with pytest.raises(EdgecnnError, match=r"part\.toml") as caught:
            Plan.read(tmp_path / "part.toml")
        assert "\n" not in str(caught.value)
    (tmp_path / "part.toml").write_bytes(text[: text.rindex(b"[[rounds]]")])
    with pytest.raises(
        EdgecnnError, match=r"part\.toml is not whole: its rounds have \[1, 2, 0\] cuts, not \[1, 2, 0, 1\]"
    ):
        Plan.read(tmp_path / "part.toml")


def test_a_plan_without_counts_is_whole(tmp_path: Path) -> None:
    """Plans written by hand have none; of those, a round that does nothing is what tells that the end is gone."""
    LONG.write(tmp_path / "plan.toml")
    first, _, rest = (tmp_path / "plan.toml").read_text().partition("\n")
    assert first.startswith("cuts_of_rounds = ")
    (tmp_path / "hand.toml").write_text(rest.rstrip())
    assert Plan.read(tmp_path / "hand.toml") == LONG
    (tmp_path / "part.toml").write_text(rest[: rest.rindex("[rounds.cuts]") + len("[rounds.cuts]")])
    with pytest.raises(EdgecnnError, match=r"part\.toml: round 4 cuts nothing and sets no weight to 0"):
        Plan.read(tmp_path / "part.toml")
