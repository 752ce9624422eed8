"""What is measured on: a catalogue, exported as the commands would export it, and Triton servers that serve it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tesserank.artifact.layout import PRECISIONS
from tesserank.artifact.store import current_artifact
from tesserank.errors import ConfigError, DataError
from tesserank.files import link_or_copy
from tesserank.paths import CHECKOUT
from tesserank.server import TritonServer

DEFAULT_DATA = CHECKOUT.parent / "shared" / "data" / "amazon_beauty"
CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class Settings:
    """What the command line chose; see ``tesserank bench latency --help``."""

    data: Path | None
    work: Path
    precision: str
    model: str | None
    dim: int
    seed: int
    engines: tuple[str, ...] = ()  # what the encoder is exported for beside ONNX Runtime


@dataclass(frozen=True)
class Dataset:
    """A catalogue and its event log."""

    name: str
    items: Path
    events: Path

    @classmethod
    def within(cls, folder: Path, name: str) -> Dataset:
        """``items.jsonl.gz`` and ``events.csv.gz`` of a folder. Raises DataError if one is missing."""
        found = cls(name, folder / "items.jsonl.gz", folder / "events.csv.gz")
        for path in (found.items, found.events):
            if not path.is_file():
                raise DataError(f"no {path.name} in {folder}: name another folder with --data")
        return found


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """``--data``, as ``find_dataset`` takes it."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="items.jsonl.gz and events.csv.gz (default: ../shared/data/amazon_beauty beside the checkout, if there; "
        "else the sample catalogue)",
    )


def add_export_arguments(parser: argparse.ArgumentParser, precision: str) -> None:
    """What ``Settings`` are made of beside data and places; ``precision`` is the default."""
    parser.add_argument("--model", metavar="CHECKPOINT", help="a directory or a hub id (default: all-MiniLM-L6-v2)")
    parser.add_argument("--precision", choices=PRECISIONS, default=precision, help="of the encoder (%(default)s)")
    parser.add_argument("--dim", type=int, default=128, metavar="N", help="dimensions of token vectors (%(default)s)")


def find_dataset(folder: Path | None, work: Path) -> Dataset:
    """The folder that was named, else amazon_beauty beside the checkout, else the sample catalogue, written anew."""
    if folder is not None:
        return Dataset.within(folder, folder.name)
    if DEFAULT_DATA.is_dir():
        return Dataset.within(DEFAULT_DATA, DEFAULT_DATA.name)
    sample = work.resolve() / "sample"
    command = [sys.executable, "-m", "examples.sample_data", "--scenario", "ecommerce", "--out", str(sample)]
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    return Dataset.within(sample, "sample catalogue")


@dataclass(frozen=True)
class Exported:
    """An artefact and the model repository assembled from it."""

    artifact: Path
    repository: Path


def export(dataset: Dataset, segments: Sequence[Path], settings: Settings) -> dict[str, Exported]:
    """Export with each of several segments files, by their stems; steps that were done before are reused.

    In a process of its own: torch's threads must not share the cores with what is measured. Raises ConfigError with the
    last lines that the export printed if it failed.
    """
    work = settings.work
    command = [sys.executable, "-m", "tesserank_bench.latency.exporting", "--catalog", str(dataset.items)]
    command += ["--events", str(dataset.events), "--work", str(work), "--dim", str(settings.dim)]
    command += ["--precision", settings.precision, *(["--model", settings.model] if settings.model else [])]
    command += [option for engine in settings.engines for option in ("--engine", engine)]
    command += ["--segments", *map(str, segments)]
    log = work / "export.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        raise ConfigError(f"the export ended with status {done.returncode}; the end of its log, {log}:\n{tail}")
    return {
        path.stem: Exported(current_artifact(work / "artifacts" / path.stem), work / "repositories" / path.stem)
        for path in segments
    }


def add_cross_encoder(repository: Path, precision: str) -> str:
    """A second copy of the cross-encoder, of another precision; returns its name. Large files are hard links."""
    source, name = repository / "cross_encoder", f"cross_encoder_{precision}"
    target = repository / name
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name != CONFIG:
            link_or_copy(path, target / path.relative_to(source))
    config = _read_config(source)
    config.name = name
    _write_config(target, config)
    set_parameters(target, {"precision": precision})
    return name


def set_parameters(model: Path, values: Mapping[str, str]) -> None:
    """Change parameters of a model of an assembled repository; the others stay."""
    config = _read_config(model)
    for name, value in values.items():
        config.parameters[name].string_value = value
    _write_config(model, config)


def parameters(model: Path) -> dict[str, str]:
    """The parameters of a model of a repository."""
    return {name: value.string_value for name, value in _read_config(model).parameters.items()}


def _read_config(model: Path) -> Any:
    return text_format.Parse((model / CONFIG).read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def _write_config(model: Path, config: Any) -> None:
    (model / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")


def make_server(
    repository: Path, log: Path, environment: Mapping[str, str] | None = None, **settings: Any
) -> TritonServer:
    """A server at ports that are free; ``settings``: other arguments of TritonServer."""
    return TritonServer(
        repository, http_port=0, grpc_port=0, metrics_port=0, log_file=log, environment=environment, **settings
    )


@contextmanager
def serving(servers: Sequence[TritonServer]) -> Iterator[None]:
    """Servers whose whole pipelines answer. They start at the same time, and are stopped at the end."""
    try:
        with ThreadPoolExecutor(len(servers)) as pool:
            for started in [pool.submit(_start, server) for server in servers]:
                started.result()
        yield
    finally:
        for server in servers:
            server.stop()


def _start(server: TritonServer) -> None:
    server.start()
    server.wait_answering()
