"""Messages between edgecnn and its worker."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.runtimes.frames import read_message, write_message

ARRAYS = hnp.arrays(
    st.sampled_from(["float32", "float16", "int8", "uint8", "int64", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@pytest.mark.slow
@given(st.dictionaries(st.text().filter(lambda key: key != "edgecnn"), st.integers()), st.lists(ARRAYS, max_size=3))
def test_a_message_arrives_as_it_was_sent(message: dict[str, int], arrays: list[np.ndarray]) -> None:
    """What is written is read: the message, and each array with its dtype and shape, one message after the other."""
    stream = io.BytesIO()
    write_message(stream, message, arrays)
    write_message(stream, {"next": 1})
    stream.seek(0)
    found = read_message(stream)
    assert found is not None
    assert found[0] == message
    assert [array.dtype for array in found[1]] == [array.dtype for array in arrays]
    for own, other in zip(arrays, found[1], strict=True):
        np.testing.assert_array_equal(own, other)
    assert read_message(stream) == ({"next": 1}, [])
    assert read_message(stream) is None


@pytest.mark.parametrize("line", [b"INFO: hello\n", b"[1]\n", b"3\n", b"{}\n", b"null\n", b"\xff\xfe\n", b'{"a": 1}\n'])
def test_foreign_lines_are_refused(line: bytes) -> None:
    """A line that is not a message of ours is an error, even where it is JSON."""
    with pytest.raises(ValueError, match="not a message"):
        read_message(io.BytesIO(line))


def test_a_message_cut_off_is_refused() -> None:
    """Arrays that end too early are an error, not a short array."""
    stream = io.BytesIO()
    write_message(stream, {}, [np.zeros(100, np.float32)])
    with pytest.raises(ValueError, match="truncated"):
        read_message(io.BytesIO(stream.getvalue()[:-1]))


def test_arrays_of_objects_are_refused() -> None:
    """Nothing that could hold a pickle is ever read."""
    with pytest.raises(ValueError, match="type object"):
        read_message(io.BytesIO(b'{"edgecnn": [["|O", [1]]]}\n' + b"\0" * 8))
