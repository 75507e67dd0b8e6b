"""Plans as TOML files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.pipeline.plan import Method, Plan, Round, read_plan

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
METHODS = st.builds(
    Method,
    criterion=NAMES,
    learning_rate=st.floats(1e-9, 1e3),
    flip=st.booleans(),
    seed=st.integers(0, 2**40),
    optimizer=st.sampled_from(("adamw", "sgd")),
)
ROUNDS = st.builds(
    Round, st.dictionaries(NAMES, st.floats(0, 1), max_size=3), st.integers(0, 9), st.floats(0, 1, exclude_max=True)
)
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
        again = read_plan(path)
    assert again == plan
    assert [list(one.cuts) for one in again.rounds] == [list(one.cuts) for one in plan.rounds]
