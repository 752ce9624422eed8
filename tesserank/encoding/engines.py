"""The engine that a model's parameters ask for, opened on an artefact's encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tesserank.artifact.layout import Layout
from tesserank.encoding.batch import Encode
from tesserank.encoding.batching import Engine
from tesserank.encoding.providers import AUTO, CPU, CUDA, ProviderSettings
from tesserank.errors import ConfigError
from tesserank.files import read_json

ONNX, TORCH = "onnx", "torch"
ENGINES = (ONNX, TORCH)
Parameter = Callable[[str, str], str]  # name and default -> value


@dataclass(frozen=True)
class EngineSettings:
    """``engine``: onnx or torch; ``device``: auto, cpu, cuda or cuda:N; ``threads``: of ONNX Runtime on a CPU.

    ``torch_dtype`` and ``torch_compile`` are what ``TorchEngine`` takes as ``dtype`` and ``compiler``.
    """

    engine: str = ONNX
    device: str = AUTO
    threads: int = 2
    torch_dtype: str = AUTO
    torch_compile: str = ""
    onnx: ProviderSettings = field(default_factory=ProviderSettings)

    @staticmethod
    def read(parameter: Parameter, threads: int) -> EngineSettings:
        """From a model's parameters. Raises ConfigError that names the one that cannot be used."""
        engine = parameter("engine", ONNX)
        if engine not in ENGINES:
            raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
        device = parameter("device", AUTO)
        cache = parameter("tensorrt_cache", "")
        tuned, most = _numbers(parameter, "profile_rows", "16,64", 2)
        return EngineSettings(
            engine=engine,
            device=device,
            threads=threads,
            torch_dtype=parameter("torch_dtype", AUTO),
            torch_compile=parameter("torch_compile", ""),
            onnx=ProviderSettings(
                provider=_provider(parameter("execution_provider", AUTO), device),
                device_id=_device_id(device),
                memory_mib=_numbers(parameter, "onnx_memory_mib", "0", 1)[0],
                cuda_graphs=_flag(parameter, "cuda_graphs"),
                precision=parameter("tensorrt_precision", "fp16"),
                cache=Path(cache) if cache else None,
                profile_lengths=_numbers(parameter, "profile_lengths", "18,34,66,130,258"),
                profile_rows=(tuned, most),
            ),
        )


def open_engine(root: Path, precision: str, settings: EngineSettings) -> Engine:
    """The segment encoder of an artefact (or of its part encoder), as it is served.

    Raises ArtifactError if the artefact lacks what the engine needs, ConfigError if the machine does.
    """
    layout = Layout(root)
    if settings.engine == TORCH:
        with _named_if_missing():
            from tesserank.encoding.pytorch.engine import TorchEngine
        engine = TorchEngine.open(layout, settings.device, settings.torch_dtype, settings.torch_compile)
        if engine.device.type != CPU:
            engine.warm_up()
        return engine
    from tesserank.encoding.engine import Graph, open_onnx  # here, or every model's process would load ONNX Runtime

    graph = Graph(
        path=layout.encoder(precision),
        precision=precision,
        row_by_row=precision == "int8",
        plain=layout.plain_encoder,
        max_tokens=read_json(layout.encoder_meta)["max_tokens"],
    )
    return open_onnx(graph, settings.threads, settings.onnx)


def open_pair_engine(root: Path, precision: str, settings: EngineSettings) -> Encode:
    """The cross-encoder of an artefact, or of its parts cross_encoder and, for torch, encoder. Raises the same."""
    layout = Layout(root)
    if settings.engine == TORCH:
        with _named_if_missing():
            from tesserank.encoding.pytorch.pairs import TorchPairs
        return TorchPairs.open(layout, settings.device, settings.torch_dtype, settings.torch_compile)
    from tesserank.encoding.engine import Graph, open_onnx

    return open_onnx(Graph(layout.cross_encoder(precision), precision), settings.threads, settings.onnx)


@contextmanager
def _named_if_missing() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"engine torch needs {error.name}, which is not installed: pip install 'tesserank[torch]'"
        ) from error


def _provider(name: str, device: str) -> str:
    """What the device leaves of the providers."""
    if device == CPU:
        if name not in (AUTO, CPU):
            raise ConfigError(f"execution_provider {name} on device cpu: choose the device auto or cuda:N")
        return CPU
    return CUDA if name == AUTO and device != AUTO else name


def _device_id(device: str) -> int:
    name, _, number = device.partition(":")
    if name not in (AUTO, CPU, CUDA) or (":" in device and (name != CUDA or not number.isdecimal())):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, not {device!r}")
    return int(number or 0)


def _flag(parameter: Parameter, name: str) -> bool:
    value = parameter(name, "false")
    if value not in ("true", "false"):
        raise ConfigError(f"{name} must be true or false, not {value!r}")
    return value == "true"


def _numbers(parameter: Parameter, name: str, default: str, count: int | None = None) -> tuple[int, ...]:
    """Whole numbers, separated by commas; ``count`` of them."""
    value = parameter(name, default)
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() for part in parts) or count not in (None, len(parts)):
        wanted = "whole numbers, separated by commas" if count is None else f"{count} whole numbers" * (count > 1)
        raise ConfigError(f"{name} must be {wanted or 'a whole number'}, not {value!r}")
    return tuple(map(int, parts))
