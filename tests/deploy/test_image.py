"""The image's steps, as far as they can be tried without building it: they are those of make setup, or run here."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tesserank.server.environment import CONTAINER_TRITONSERVER
from tesserank.server.ports import GRPC_PORT, HTTP_PORT, METRICS_PORT

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
OLDEST_TRITON = "26.07"


@dataclass(frozen=True)
class Step:
    """An instruction of a Dockerfile, its lines joined."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The value as JSON, where it is written so."""
        found: list[str] = json.loads(self.value)
        return found


def steps() -> list[Step]:
    lines = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ").splitlines()
    return [Step(*line.split(maxsplit=1)) for line in lines if line.strip()]


def all_of(name: str) -> list[str]:
    return [step.value for step in steps() if step.name == name]


def pins(lock: Path) -> dict[str, set[str]]:
    """The versions in a lock (one a range of Pythons at most), by package."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z0-9-]+)==(\S+)", line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_hadolint_finds_no_fault() -> None:
    command = ["hadolint", "--no-color", str(DOCKERFILE)]
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_base_is_a_triton_without_the_known_vulnerabilities() -> None:
    (tag,) = (value.removeprefix("TRITON_TAG=") for value in all_of("ARG") if value.startswith("TRITON_TAG="))
    assert re.fullmatch(r"\d\d\.\d\d-py3", tag)
    assert tag >= OLDEST_TRITON
    assert all_of("FROM") == ["nvcr.io/nvidia/tritonserver:${TRITON_TAG}"]


@pytest.mark.parametrize(("version", "builds"), [("26.07", True), ("27.01", True), ("24.10", False), ("", False)])
def test_the_build_refuses_an_older_triton(version: str, builds: bool) -> None:
    command = next(step for step in all_of("RUN") if "NVIDIA_TRITON_SERVER_VERSION" in step)
    environment = os.environ | {"NVIDIA_TRITON_SERVER_VERSION": version}
    shell = next(step for step in steps() if step.name == "SHELL").words
    done = subprocess.run([*shell, command], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) == builds
    assert builds or OLDEST_TRITON in done.stderr


def test_packages_are_installed_as_make_setup_installs_them() -> None:
    run = "\n".join(all_of("RUN"))
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for step in ("dependencies", "packages"):
        assert f"deploy/install.sh {step} " in run
        assert f"deploy/install.sh {step} " in make
    assert not re.search(r"\bpip3? install\b", run)
    assert not re.search(r"\bpip install\b", make.split("setup:")[1].split("demo:")[0])


def test_its_lock_is_a_part_of_the_lock_less_the_wheel_of_triton() -> None:
    whole, image = pins(ROOT / "requirements.lock"), pins(ROOT / "deploy" / "requirements.lock")
    assert set(image) < set(whole)
    for name, versions in image.items():
        assert versions <= whole[name], f"{name}: make lock"
    assert {"numpy", "numba", "onnxruntime", "tokenizers", "tritonclient", "transformers"} <= set(image)
    assert not {"nvidia-pytriton", "torch", "tesserank-client"} & set(image)


def test_what_is_copied_is_in_the_context_and_no_more() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    copied = [source for step in all_of("COPY") for source in step.split()[:-1]]
    assert let_in == set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not fnmatch.fnmatch(source, "*/__pycache__*")


def test_it_runs_as_somebody_who_is_not_root() -> None:
    user = [step for step in steps() if step.name == "USER"][-1].value
    assert int(user) > 0
    assert any(f"useradd --system --uid {user} " in step for step in all_of("RUN"))
    after = [step.name for step in steps()]
    assert after.index("USER") > max(at for at, name in enumerate(after) if name in ("RUN", "COPY"))


def test_it_is_healthy_if_the_doctor_says_so_and_serves_from_a_mounted_store() -> None:
    health, command = all_of("HEALTHCHECK")[0], next(step for step in steps() if step.name == "CMD").words
    assert json.loads(health.split("CMD ", 1)[1]) == ["tesserank", "doctor"]
    assert command[:2] == ["tesserank", "serve"]
    assert command[command.index("--model-repository") + 1] == "/models"
    assert all_of("EXPOSE") == [f"{HTTP_PORT} {GRPC_PORT} {METRICS_PORT}"]
    assert str(CONTAINER_TRITONSERVER).startswith("/opt/tritonserver/")  # what a search finds without the wheel
    written = re.findall(r"/var/[a-z]+/tesserank", all_of("RUN")[2] + " ".join(command) + " ".join(all_of("ENV")))
    assert set(written) == set(json.loads(all_of("VOLUME")[0]))
