"""Comparing users' segments."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from tesserank.serving.segments import SpaceTokens, UserSegments


def assert_same(left: UserSegments, right: UserSegments) -> None:
    """To the bit, and of the same types."""
    assert left.labels == right.labels
    assert left.channels.tolist() == right.channels.tolist()
    assert left.weights.tolist() == right.weights.tolist()
    assert set(left.spaces) == set(right.spaces)
    for name, space in left.spaces.items():
        for field in fields(SpaceTokens):
            ours, theirs = getattr(space, field.name), getattr(right.spaces[name], field.name)
            assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None), field.name
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{name} {field.name}")
