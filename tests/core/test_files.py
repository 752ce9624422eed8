"""Readers see the old file or directory, or the new one, whatever happens to the writer."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tesserank import files
from tesserank.errors import ArtifactError
from tesserank.files import link_or_copy, new_directory, read_json, sha256_file, write_json


def make_old(target: Path) -> None:
    target.mkdir()
    (target / "old").write_text("old")


def test_a_new_directory_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    for name in ("first", "second"):
        with new_directory(target) as scratch:
            (scratch / name).write_text(name)
        assert [path.name for path in target.iterdir()] == [name]
    assert list(target.parent.iterdir()) == [target], "nothing is left beside it"
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_exception_leaves_the_old_directory_and_no_debris(tmp_path: Path) -> None:
    make_old(tmp_path / "target")

    def fail() -> None:
        with new_directory(tmp_path / "target") as scratch:
            (scratch / "new").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "target" / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


def test_a_rename_that_fails_puts_the_old_directory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(tmp_path / "target")
    rename, calls = os.replace, []

    def fail_second(source: Path, destination: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError("disk gone")
        rename(source, destination)

    monkeypatch.setattr(files.os, "replace", fail_second)
    with pytest.raises(OSError, match="disk gone"), new_directory(tmp_path / "target"):
        pass
    assert (tmp_path / "target" / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


def test_a_writer_that_is_killed_leaves_the_old_directory(tmp_path: Path) -> None:
    make_old(tmp_path / "target")
    code = f"""
import sys, time
from pathlib import Path
from tesserank.files import new_directory
with new_directory(Path({str(tmp_path / "target")!r})) as scratch:
    (scratch / "new").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["old"]
    with new_directory(tmp_path / "target") as scratch:
        (scratch / "new").write_text("whole")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["new"], "and the next writer is not disturbed"


def test_json_comes_back_sorted_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert read_json(path) == {"a": [1.5, None], "b": 1}
    assert path.read_text().startswith('{\n  "a": [')
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    assert json.loads(path.read_text()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_replaced_and_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")
    with path.open() as reader:
        write_json(path, "new")
        assert json.load(reader) == "old", "who had it open still reads the old one"
    assert read_json(path) == "new"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read .No such file"), (b"{", "is corrupt"), (b"\xff\xfe", "is corrupt")],
    ids=["missing", "half", "not UTF-8"],
)
def test_json_that_cannot_be_read_is_an_error_that_names_the_file(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{path} {message}.*make export"):
        read_json(path)


def test_a_hash_is_that_of_the_content(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)  # more than one read
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_file_is_linked_where_links_can_go_and_else_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    link_or_copy(source, tmp_path / "deep" / "linked")
    assert (tmp_path / "deep" / "linked").samefile(source)

    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(files.os, "link", refuse)
    link_or_copy(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "x"
    assert not (tmp_path / "copied").samefile(source)
