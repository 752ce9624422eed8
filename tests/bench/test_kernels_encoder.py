"""Rates and comparisons of the encoder's part of ``tesserank bench kernels``."""

from __future__ import annotations

import numpy as np

from tesserank.encoding.template import Template
from tesserank_bench.kernels.catalogue import Texts
from tesserank_bench.kernels.encoder import compared, rates, users_of

TEMPLATE = Template(prefix=(1,), separator=(2,), suffix=(2,), pad=0, max_tokens=128)


def texts(*lengths: int) -> Texts:
    """Texts of these many tokens, two special ones included."""
    composed = tuple(TEMPLATE.compose([range(5, 5 + length - 2)]) for length in lengths)
    return Texts(tuple(str(length) for length in lengths), composed)


def test_users_have_five_segments_each() -> None:
    assert [len(user) for user in users_of(texts(*[4] * 12).composed)] == [5, 5, 2]


def test_rates_are_of_the_median_sample() -> None:
    assert rates(100, [1.0, 0.5, 4.0]) == {"tokens_per_s": 100.0}
    assert rates(100, []) == {}


def test_served_vectors_are_compared_without_the_special_tokens() -> None:
    some = texts(4, 3)
    raw = np.arange(14, dtype=np.float32).reshape(7, 2)
    served = [raw[1:3].copy(), raw[5:6].copy()]
    assert compared(some, served, raw) == {"max_difference_from_raw": 0.0}
    served[1][0, 1] += 0.5
    assert compared(some, served, raw) == {"max_difference_from_raw": 0.5}
