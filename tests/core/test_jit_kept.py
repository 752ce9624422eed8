"""Kernels kept on disk: known again when they are the same, and only then."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tesserank.maxsim import jit

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is compiled", allow_module_level=True)

from numba import config, njit
from numba.core.caching import CompileResultCacheImpl

from tesserank.maxsim.jit import kept as module
from tesserank.maxsim.jit.kept import kept

NUMBERS = np.arange(5, dtype=np.float32)

# Of the kernels of these steps, each of which calls another function: its answer, and whether it was compiled.
TWO_KERNELS = """
    import json
    import sys

    from tests.core.test_jit_kept import NUMBERS, make, was_compiled

    kernels = [make(int(step), int(step), inlined=False) for step in sys.argv[1:]]
    print(json.dumps([(float(kernel(NUMBERS)), was_compiled(kernel)) for kernel in kernels]))
"""

# What a server's kernels are: of items of many vectors and of one, of both aggregations, of the search.
EVERY_KERNEL = """
    import sys

    import numpy as np
    from numba.core import event

    from tests.core.test_maxsim import make_problem
    from tests.core.test_search_pieces import make_problem as make_pieces
    from tesserank.maxsim import cpu
    from tesserank.search.piece_scores import unit_scores
    from tesserank.search.scan import scan, to_levels
    from tesserank.search.select import best_rows


    class Compiled(event.Listener):
        names = []

        def on_start(self, event):
            self.names.append(event.data["dispatcher"].py_func.__qualname__)

        def on_end(self, event):
            pass


    event.register("numba:compile", Compiled())
    answers = []
    for lengths in ([2, 3] * 20, [1] * 40):
        for kind in ("int8", "int16"):
            answers.append(cpu.unit_scores(*make_problem(0, 24, lengths, [3, 4], kind)))
    answers.append(cpu.coarse_unit_scores(*make_problem(0, 24, [2, 3] * 20, [3, 4], "int8")))
    for method in ("sum", "softmax"):
        answers.append(cpu.aggregate(answers[0], np.ones(2), method, 0.5))
    answers.append(best_rows(answers[-1], 3))
    answers.append(unit_scores(*make_pieces(0, 24, 40, [2, 3])))
    levels = np.zeros((4, 64), dtype=np.uint8)
    to_levels(np.full((4, 64), 7.4, dtype=np.float32), levels)
    sums = np.zeros((1, 2), dtype=np.float32)
    codes, offsets, words = np.array([0, 1, 3], dtype=np.uint16), np.array([0, 1, 3]), np.array([0, 16])
    scan(levels, codes, offsets, np.arange(2), True, 0, 2, words, np.ones(1, dtype=np.float32), sums)
    answers.append(sums)
    sys.stdout.buffer.write(b"".join(answer.tobytes() for answer in answers))
    sys.stderr.write("\\n".join(Compiled.names))
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # for the processes that tests start
    return tmp_path


def files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file()]


def make(step: float, *made_of: Any, inlined: bool = True) -> Callable[..., Any]:
    """A kernel that calls another compiled function, as a new process would make it."""

    @njit(_dbg_optnone=not inlined)
    def add(x: Any) -> Any:
        return x + np.float32(step)

    @kept(*made_of)
    def total(values: Any) -> Any:
        total = np.float32(0)
        for i in range(len(values)):
            total += add(values[i])
        return total

    return total


def was_compiled(kernel: Any) -> bool:
    """Whether calling it has compiled it, and not found it."""
    hits, misses = sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())
    assert hits + misses == 1
    return bool(misses)


def test_a_kernel_that_is_made_again_is_found_and_not_compiled(directory: Path) -> None:
    first, second = make(1, 1), make(1, 1)
    assert first(NUMBERS) == second(NUMBERS) == 15
    assert was_compiled(first)
    assert not was_compiled(second)
    assert len(files(directory)) == 1


def test_what_a_kernel_is_made_of_tells_it_apart() -> None:
    one, two = make(1, 1), make(2, 2)
    assert (one(NUMBERS), two(NUMBERS)) == (15, 20)
    assert was_compiled(two)


def test_a_kernel_is_compiled_for_each_type(directory: Path) -> None:
    assert make(1)(NUMBERS) == make(1)(NUMBERS.astype(np.int32)) == 15
    unwritable = NUMBERS.copy()
    unwritable.flags.writeable = False
    assert make(1)(unwritable) == 15
    assert len(files(directory)) == 3


def test_a_change_of_the_source_is_noticed_and_what_it_outdates_goes(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(1)(NUMBERS)
    (old,) = files(directory)
    monkeypatch.setattr(module, "_source", lambda: "changed")
    kernel = make(2)
    assert kernel(NUMBERS) == 20
    assert was_compiled(kernel)
    (new,) = files(directory)
    assert "changed" in new.name
    assert new != old


def test_the_source_is_all_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "below").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "below" / "numbers.py").write_text("STEP = 1")
    monkeypatch.setattr(module.tesserank, "__file__", str(package / "__init__.py"))
    before = module._source.__wrapped__()
    (package / "below" / "numbers.py").write_text("STEP = 2")
    assert module._source.__wrapped__() != before


def test_what_another_compiler_made_stays_and_what_is_no_file_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / ".#units.py").symlink_to("nobody@nowhere")  # as an editor locks a file
    monkeypatch.setattr(module.tesserank, "__file__", str(tmp_path / "package" / "__init__.py"))
    assert module._source.__wrapped__()
    make(1)(NUMBERS)
    monkeypatch.setattr(module, "_compiler", lambda: "another")
    monkeypatch.setattr(module, "_source", lambda: "changed")
    make(1)(NUMBERS)
    assert len(list(tmp_path.rglob("*.kernel"))) == 2


def test_what_numba_was_told_tells_kernels_apart(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(1)(NUMBERS)
    monkeypatch.setattr(config, "BOUNDSCHECK", 1)
    kernel = make(1)
    assert kernel(NUMBERS) == 15
    assert was_compiled(kernel)
    assert len(files(directory)) == 2


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: whole[:9], lambda whole: whole[:-9], lambda whole: whole[:-9] + bytes(9)],
    ids=["empty", "torn at its start", "torn", "its end is zeros"],
)
def test_a_damaged_file_is_made_again(damage: Callable[[bytes], bytes], directory: Path) -> None:
    make(1)(NUMBERS)
    (path,) = files(directory)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    kernel = make(1)
    assert kernel(NUMBERS) == 15
    assert was_compiled(kernel)
    assert len(path.read_bytes()) == len(whole)
    again = make(1)
    assert again(NUMBERS) == 15
    assert not was_compiled(again)


def test_whoever_may_read_what_this_user_writes_may_read_a_kernel(directory: Path) -> None:
    make(1)(NUMBERS)
    (path,) = files(directory)
    plain = directory / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


def test_where_nothing_can_be_written_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CompileResultCacheImpl, "_locator_classes", [])
        assert make(1)(NUMBERS) == 15
    kernel = make(1)
    monkeypatch.setattr(module, "_write", full_disk)
    assert kernel(NUMBERS) == 15


def full_disk(path: Path, content: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_kernels_of_two_processes_call_their_own_functions_in_a_third(directory: Path) -> None:
    """Each process compiles an ``add`` as its first function but one."""
    found = [json.loads(run(TWO_KERNELS, *steps)[0]) for steps in (["1"], ["2"], ["1", "2"], ["2", "1"])]
    assert found == [[[15, True]], [[20, True]], [[15, False], [20, False]], [[20, False], [15, False]]]


def test_the_next_process_compiles_none_of_the_kernels_and_computes_the_same(directory: Path) -> None:
    (first, compiled), (second, compiled_again) = (run(EVERY_KERNEL) for _ in range(2))
    assert {"_kernel.<locals>.score", "_kernel.<locals>.multiply", "_pack", "_soft_maximum", "scan"} <= set(
        compiled.decode().splitlines()
    )
    assert not compiled_again
    assert first == second


def run(program: str, *arguments: str) -> tuple[bytes, bytes]:
    """What a program writes in a process of its own, to the output and beside it."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout, process.stderr
