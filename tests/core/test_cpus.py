"""Threads that stay on a CPU, and ONNX Runtime's, which spin there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tesserank.encoding.sessions import CpuSession
from tesserank.threads import cpus_of_its_own, on_cpu
from tests.core.tiny_graph import IDS, MASK, TABLE, write_graph

ALLOWED = os.sched_getaffinity(0)


def test_only_as_many_threads_as_there_are_cpus_have_their_own() -> None:
    assert cpus_of_its_own(len(ALLOWED)) == tuple(sorted(ALLOWED))
    assert cpus_of_its_own(len(ALLOWED) + 1) == ()


def test_a_thread_stays_on_its_cpu_no_longer_than_it_should() -> None:
    def fail_there() -> None:
        with on_cpu(max(ALLOWED)):
            assert os.sched_getaffinity(0) == {max(ALLOWED)}
            raise ValueError("from within")

    with pytest.raises(ValueError, match="from within"):
        fail_there()
    assert os.sched_getaffinity(0) == ALLOWED


def test_a_cpu_that_is_not_to_be_had_stops_nobody() -> None:
    with on_cpu(100_000):
        assert os.sched_getaffinity(0) == ALLOWED


@pytest.mark.parametrize("threads", sorted({1, len(ALLOWED), len(ALLOWED) + 1}))
def test_a_session_answers_the_same_on_any_number_of_threads(tmp_path: Path, threads: int) -> None:
    session = CpuSession(write_graph(tmp_path / "model.onnx"), threads)
    np.testing.assert_array_equal(session(IDS, MASK), TABLE[IDS] - 9 * MASK[:, :, None])
    assert os.sched_getaffinity(0) == ALLOWED
