"""Threads that stay on a CPU, and ONNX Runtime's, which spin there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tesserank.encoding import sessions
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


class Noting:
    """ONNX Runtime's session: what it was opened with, and on which CPUs its caller was when it ran."""

    def __init__(self, path: str, options: Any, providers: Any) -> None:
        keys = ("session.intra_op.allow_spinning", "session.force_spinning_stop", "session.intra_op_thread_affinities")
        self.spinning, self.stops, self.affinities = (_entry(options, key) for key in keys)
        self.callers: list[set[int]] = []

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def run(self, outputs: None, inputs: dict[str, Any]) -> list[Any]:
        self.callers.append(os.sched_getaffinity(0))
        return [IDS]


def _entry(options: Any, key: str) -> str | None:
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:  # it has none
        return None


@pytest.mark.parametrize(("cpus", "affinities"), [((0, 1, 2), "2;3"), ((4, 9), "10")])
def test_threads_spin_where_each_has_a_cpu(
    monkeypatch: pytest.MonkeyPatch, cpus: tuple[int, ...], affinities: str
) -> None:
    monkeypatch.setattr(sessions.ort, "InferenceSession", Noting)
    monkeypatch.setattr(sessions, "cpus_of_its_own", lambda threads: cpus if threads == len(cpus) else ())
    session = CpuSession(Path("model.onnx"), len(cpus))
    noting = session._session
    assert (noting.spinning, noting.stops, noting.affinities) == ("1", "1", affinities)
    asleep = CpuSession(Path("model.onnx"), len(cpus) + 1)._session
    assert (asleep.spinning, asleep.affinities) == ("0", None)


def test_the_caller_is_one_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions.ort, "InferenceSession", Noting)
    own = tuple(sorted(ALLOWED))
    session, alone = (CpuSession(Path("model.onnx"), threads) for threads in (len(own), 1))
    session(IDS, MASK)
    alone(IDS, MASK)
    assert session._session.callers == [{own[0]} if len(own) > 1 else ALLOWED]
    assert alone._session.callers == [ALLOWED]
