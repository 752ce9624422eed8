"""The command line of tritonserver: everything that tesserank asks of it, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tesserank.server.environment import Installation, shared_memory_free

# Each Python model instance takes a region of this size at once and grows it by as much, in the middle of a request.
ROOMY_REGION_BYTES = 16 << 20
TIGHT_REGION_BYTES = 1 << 20  # Triton's own default, and its least
ROOMY_FREE_BYTES = 512 << 20  # from this much free in /dev/shm on; Docker's own default is 64 MiB in all
NVIDIA_DRIVER = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class ServerCommand:
    """What varies from launch to launch. ``region_prefix`` begins the names of the server's files in /dev/shm."""

    installation: Installation
    model_repository: Path
    backends: Path
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    region_prefix: str
    model_config_name: str | None
    exit_timeout_s: int
    log_verbose: int
    response_cache_bytes: int
    extra_arguments: Sequence[str]

    def line(self) -> list[str]:
        """The program and its arguments."""
        arguments = self._endpoints() + self._models() + self._python_backend() + self._options()
        return [str(self.installation.executable), *arguments, *self.extra_arguments]

    def _endpoints(self) -> list[str]:
        # Without a GPU's driver the metrics thread logs an error at every start.
        gpu_metrics = "true" if NVIDIA_DRIVER.exists() else "false"
        return [
            f"--http-address={self.host}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.metrics_port}",
            f"--allow-gpu-metrics={gpu_metrics}",
        ]

    def _models(self) -> list[str]:
        return [
            f"--model-repository={self.model_repository.resolve()}",
            f"--backend-directory={self.backends}",
            "--model-control-mode=none",
            "--exit-on-error=true",
            "--strict-readiness=true",
            "--disable-auto-complete-config",  # every model states its inputs and outputs
        ]

    def _python_backend(self) -> list[str]:
        region_bytes = ROOMY_REGION_BYTES if shared_memory_free() >= ROOMY_FREE_BYTES else TIGHT_REGION_BYTES
        return [
            f"--backend-config=python,shm-region-prefix-name={self.region_prefix}",
            f"--backend-config=python,shm-default-byte-size={region_bytes}",
            f"--backend-config=python,shm-growth-byte-size={region_bytes}",
        ]

    def _options(self) -> list[str]:
        options = [
            f"--exit-timeout-secs={self.exit_timeout_s}",
            f"--log-verbose={self.log_verbose}",
            "--log-format=ISO8601",
        ]
        if self.model_config_name is not None:
            options.append(f"--model-config-name={self.model_config_name}")
        if self.response_cache_bytes:
            options.append(f"--cache-config=local,size={self.response_cache_bytes}")
            options.append(f"--cache-directory={self.installation.caches}")
        return options
