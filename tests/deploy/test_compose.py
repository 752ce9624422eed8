"""The compose file: by its specification's schema, and as this project wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tesserank.server.command import ROOMY_FREE_BYTES
from tesserank.server.ports import GRPC_PORT, HTTP_PORT, METRICS_PORT
from tests.deploy.test_image import all_of

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_it_is_a_compose_file(tmp_path: Path) -> None:
    found = check(FILE)
    assert found.returncode == 0, found.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text(encoding="utf-8").replace("shm_size:", "shared_memory:"), encoding="utf-8")
    assert check(wrong).returncode == 1


def test_the_server_gets_a_gpu_shared_memory_and_a_store_that_it_cannot_write(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    assert server["shm_size"] == "1gb"
    assert ROOMY_FREE_BYTES <= 1 << 30
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    (store,) = (mount for mount in server["volumes"] if ":/models" in mount)
    assert store.endswith(":/models:ro")
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_server_can_write_where_its_image_writes(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    mounted = {mount.split(":")[1] for mount in server["volumes"]} | {mount.split(":")[0] for mount in server["tmpfs"]}
    assert set(yaml.safe_load(all_of("VOLUME")[0])) | {"/tmp", "/home/tesserank"} <= mounted


def test_ports_are_this_machines_own(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service["ports"]]
    assert {f"127.0.0.1:{port}:{port}" for port in (HTTP_PORT, GRPC_PORT, METRICS_PORT)} <= set(ports)
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len(set(ports)) == len(ports)


def test_what_is_mounted_exists_or_is_a_volume(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for source in (mount.split(":")[0] for mount in service["volumes"] if not mount.startswith("$")):
            assert (DEPLOY / source).is_dir() if source.startswith(".") else source in compose["volumes"], source
    build = compose["services"]["server"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert set(build["args"]) == {value.split("=")[0] for value in all_of("ARG")}


def test_prometheus_asks_the_server(compose: dict[str, Any]) -> None:
    scraping = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert scraping["scrape_configs"][0]["static_configs"] == [{"targets": [f"server:{METRICS_PORT}"]}]
    assert [(DEPLOY / "prometheus" / name).is_file() for name in scraping["rule_files"]] == [True]
    assert "server" in compose["services"]
