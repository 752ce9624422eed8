"""Steps are found again if, and only if, everything they were made from is the same and what they made is whole."""

from __future__ import annotations

import fcntl
import io
from pathlib import Path

import pytest
from rich.console import Console

from tesserank_export import steps as module
from tesserank_export.leftovers import swept
from tesserank_export.steps import Steps, digest_of
from tests.export.tiny import debris


class Counted:
    """A step's build that counts its runs."""

    def __init__(self, content: str = "content") -> None:
        self.runs = 0
        self._content = content

    def __call__(self, scratch: Path) -> None:
        self.runs += 1
        (scratch / "part").mkdir()
        (scratch / "part" / "made.txt").write_text(self._content)


def make_steps(work: Path) -> tuple[Steps, io.StringIO]:
    output = io.StringIO()
    return Steps(work, Console(file=output, width=200)), output


def test_a_step_is_found_again_by_a_later_run(tmp_path: Path) -> None:
    build = Counted()
    first = make_steps(tmp_path)[0].run("name", "title", ["input", 1], build)
    later, output = make_steps(tmp_path)
    assert later.run("name", "title", ["input", 1], build) == first
    assert build.runs == 1
    assert output.getvalue() == "  title: kept from before\n"
    assert list(later.seconds) == ["name"]


def test_a_step_of_other_inputs_or_another_name_is_another(tmp_path: Path) -> None:
    build, steps = Counted(), make_steps(tmp_path)[0]
    made = {steps.run(name, "title", inputs, build) for name, inputs in (("a", 1), ("a", 2), ("b", 1), ("a", [1]))}
    assert len(made) == build.runs == 4


@pytest.mark.parametrize("changed", ["_CODE", "library_versions"])
def test_changed_code_or_libraries_do_not_find_what_their_older_selves_made(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Counted()
    make_steps(tmp_path)[0].run("name", "title", 1, build)
    monkeypatch.setattr(module, changed, ("maxsim",) if changed == "_CODE" else lambda: {"torch": "0.1"})
    module.code_digest.cache_clear()
    try:
        make_steps(tmp_path)[0].run("name", "title", 1, build)
    finally:
        monkeypatch.undo()
        module.code_digest.cache_clear()
    assert build.runs == 2


def damage(path: Path, how: str) -> None:
    if how == "changed":
        path.write_text("Content")
    elif how == "shortened":
        path.write_text("cont")
    elif how == "gone":
        path.unlink()
    else:
        path.with_name("other.txt").write_text("joined later")


@pytest.mark.parametrize("how", ["changed", "shortened", "gone", "joined by another"])
def test_what_was_kept_and_then_damaged_is_made_anew(how: str, tmp_path: Path) -> None:
    build = Counted()
    made = make_steps(tmp_path)[0].run("name", "title", 1, build)
    damage(made / "part" / "made.txt", how)
    steps, output = make_steps(tmp_path)
    assert steps.run("name", "title", 1, build) == made
    assert "title: what was kept is damaged, once more ..." in output.getvalue()
    assert [path.name for path in (made / "part").iterdir()] == ["made.txt"]
    assert (made / "part" / "made.txt").read_text() == "content"
    assert debris(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_step_that_fails_leaves_nothing_and_is_run_next_time(error: type[BaseException], tmp_path: Path) -> None:
    def fail(scratch: Path) -> None:
        (scratch / "half").write_text("half")
        raise error

    with pytest.raises(error):
        make_steps(tmp_path)[0].run("name", "title", 1, fail)
    assert list(tmp_path.iterdir()) == []
    build = Counted()
    make_steps(tmp_path)[0].run("name", "title", 1, build)
    assert build.runs == 1


def test_equal_values_have_equal_digests_whatever_the_order_of_their_keys() -> None:
    assert digest_of({"a": 1, "b": [2, None]}) == digest_of({"b": [2, None], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"])


def make_leftovers(*places: Path) -> None:
    for place in places:
        (place / ".text-0123.abcd_efg").mkdir(parents=True)
        (place / ".text-0123.old.abcd_efg").mkdir()
        (place / ".mine").mkdir()
        (place / "text-0123").mkdir()


def test_leftovers_of_a_killed_export_are_swept_and_nothing_else(tmp_path: Path) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    make_leftovers(work, store)
    with swept(work, store):
        for place in (work, store):
            assert {path.name for path in place.iterdir() if path.is_dir()} == {".mine", "text-0123"}


def test_scratch_directories_of_a_running_export_are_left_to_it(tmp_path: Path) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    with swept(work, store):
        make_leftovers(work, store)
        with swept(work, store):  # its own lock, as another process's would be
            assert len(debris(tmp_path)) == 6
    with swept(work, store), (work / ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_place_that_does_not_exist_yet_has_no_leftovers(tmp_path: Path) -> None:
    with swept(tmp_path / "work", tmp_path / "store"):
        assert not (tmp_path / "store").exists()
