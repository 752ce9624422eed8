"""BYTES are read and written as the Python backend's own functions do it."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.serving.strings import deserialise, install, serialise

elements = st.lists(st.binary(max_size=6), max_size=40) | st.integers(1, 5).flatmap(
    lambda width: st.lists(st.binary(min_size=width, max_size=width), min_size=1, max_size=40)
)


def encode(values: list[bytes]) -> bytes:
    """The definition, one element at a time."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def strings(values: list[bytes]) -> NDArray[Any]:
    array = np.empty((1, len(values)), dtype=object)
    array[0] = values
    return array


@given(elements)
@example([b"ab"] * 40)  # equally long ones, and many, take a way of their own
@example([b"a\0"] * 40)
@example([b""] * 40)
@example([b"ab"] * 20 + [b"", b"abcd"] * 10)  # as long as if all were equal
@example([b"ab\x02\0\0\0ab"] + [b"ab"] * 38)
def test_what_is_read_is_what_was_written(values: list[bytes]) -> None:
    content = np.frombuffer(encode(values), dtype=np.uint8)
    assert deserialise(content).tolist() == values
    assert deserialise(content).dtype == object
    assert serialise(strings(values)) == (encode(values) or ())


@given(elements)
def test_the_backend_which_makes_an_array_of_it_gets_every_byte(values: list[bytes]) -> None:
    taken = np.array(serialise(strings(values)))
    assert taken.tobytes() == encode(values)
    assert taken.nbytes == len(encode(values))


def test_rows_are_written_one_after_the_other() -> None:
    array = np.array([[b"a", b"bc"], [b"", b"d"]], dtype=object)
    assert serialise(array) == encode([b"a", b"bc", b"", b"d"])
    assert serialise(array.T) == encode([b"a", b"", b"bc", b"d"])


def test_the_functions_are_put_where_the_backend_looks_for_them() -> None:
    """Names of Triton's triton_python_backend_utils, which the C++ code of the backend calls."""
    backend = SimpleNamespace(serialize_byte_tensor=None, deserialize_bytes_tensor=None)
    install(backend)
    assert (backend.serialize_byte_tensor, backend.deserialize_bytes_tensor) == (serialise, deserialise)
