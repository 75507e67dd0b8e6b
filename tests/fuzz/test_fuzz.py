"""Some changed inputs of each kind; `make fuzz` tries more, for as long as one likes."""

from __future__ import annotations

import sys

import pytest

from tests.fuzz.harness import TooSlowError, attempt, changed, failure_of
from tests.fuzz.subjects import SUBJECTS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory and time as Linux does")

TRIES = {"tflite": 40, "onnx": 40, "metadata": 40, "result": 60, "board": 60, "device": 40}


@pytest.mark.parametrize("kind", SUBJECTS)
def test_valid_inputs_are_read(kind: str) -> None:
    """What is changed below is read as it is: else nothing behind its first check would be reached."""
    assert [attempt(kind, content) for content in SUBJECTS[kind].valid()] == [""] * len(SUBJECTS[kind].valid())


@pytest.mark.parametrize("kind", SUBJECTS)
def test_a_changed_input_is_read_or_refused(kind: str) -> None:
    """Whatever is changed gives a result or one error of ours, in memory and time in proportion."""
    failures = {seed: failure_of(kind, changed(kind, seed)) for seed in range(TRIES.get(kind, 150))}
    assert {seed: trace for seed, trace in failures.items() if trace} == {}


def test_the_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes much memory or time is told: the harness itself can fail."""
    from tests.fuzz import harness

    monkeypatch.setattr(harness, "_MOST_CPU_S", 0.1)
    subject = SUBJECTS["message"]

    def hungry(path: object) -> None:
        bytearray(2**30)

    def slow(path: object) -> None:
        while True:
            pass

    for read, expected in ((hungry, MemoryError), (slow, TooSlowError)):
        monkeypatch.setitem(SUBJECTS, "message", type(subject)(".bin", subject.valid, subject.mutate, read))
        with pytest.raises(expected):
            attempt("message", b"")
