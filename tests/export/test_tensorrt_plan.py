"""Plans of TensorRT, which is not here: what it would be told, by a stand-in that takes what the real one takes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tesserank.artifact.assemble import assemble
from tesserank.artifact.layout import Layout, plan_file, served_plan
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.providers import Profile, ProviderSettings, profiles
from tesserank.errors import ConfigError, InvalidArgumentError
from tesserank.files import read_json
from tesserank.paths import TRACKED_REPOSITORY
from tesserank_export import encoder_steps
from tesserank_export.tensorrt_plan import PlanEngine, Target, build_plan, check_precision, find_tensorrt
from tests.export.tiny import make_options, run_export

DIM = 16
VARIANT = TRACKED_REPOSITORY / "segment_encoder" / "configs" / "tensorrt.pbtxt"
HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
HALVES_OF: dict[str, set[int]] = {
    "fp16": {onnx.TensorProto.FLOAT16},
    "fp8": {onnx.TensorProto.FLOAT16},
    "bf16": {onnx.TensorProto.BFLOAT16},
    "fp32": set(),
}
TARGET = Target("11.4.0.106", (9, 0), "NVIDIA H100")


class FakeTensorRT:
    """The parts of TensorRT 11.4 that are called, with its names and arguments; what it is told is recorded."""

    __version__ = "11.4.0.106"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)

    class Logger:
        WARNING = 2

        def __init__(self, min_severity: int) -> None:
            assert min_severity == self.WARNING

    def __init__(self, parses: bool = True, builds: bool = True, takes_profiles: bool = True) -> None:
        self.told: dict[str, Any] = {"profiles": []}
        self._parses, self._builds, self._takes_profiles = parses, builds, takes_profiles

    def Builder(self, logger: Logger) -> Any:
        def create_network(flags: int) -> str:
            self.told["flags"] = flags
            return "network"

        def build(network: str, config: Any) -> memoryview | None:
            assert (network, config) == ("network", self.config)
            return memoryview(b"plan") if self._builds else None

        self.config = self._config()
        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=self._profile,
            build_serialized_network=build,
        )

    def OnnxParser(self, network: str, logger: Logger) -> Any:
        def parse_from_file(model: str) -> bool:
            self.told["graph"] = Path(model)
            return self._parses

        errors = [] if self._parses else ["In node 3: unknown operator Attention"]
        return SimpleNamespace(parse_from_file=parse_from_file, num_errors=len(errors), get_error=errors.__getitem__)

    def _profile(self) -> Any:
        shapes: dict[str, tuple[tuple[int, int], ...]] = {}

        def set_shape(input: str, min: tuple[int, int], opt: tuple[int, int], max: tuple[int, int]) -> None:
            shapes[input] = (min, opt, max)

        return SimpleNamespace(set_shape=set_shape, shapes=shapes)

    def _config(self) -> Any:
        def add_optimization_profile(profile: Any) -> int:
            self.told["profiles"].append(profile.shapes)
            return len(self.told["profiles"]) - 1 if self._takes_profiles else -1

        def create_timing_cache(serialized_timing_cache: bytes) -> str:
            self.told["timings"] = serialized_timing_cache
            return "cache"

        def set_timing_cache(cache: str, ignore_mismatch: bool) -> bool:
            assert (cache, ignore_mismatch) == ("cache", False)
            return True

        return SimpleNamespace(
            add_optimization_profile=add_optimization_profile,
            create_timing_cache=create_timing_cache,
            set_timing_cache=set_timing_cache,
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: memoryview(b"timings")),
        )


PROFILES = [Profile((1, 16, 64), (1, 18, 18)), Profile((1, 16, 64), (19, 66, 66))]


def test_a_plan_is_built_with_every_profile_and_timings_are_kept(tmp_path: Path) -> None:
    fake, timings = FakeTensorRT(), tmp_path / "deep" / "timings"
    assert build_plan(fake, tmp_path / "model.onnx", PROFILES, timings) == b"plan"
    assert fake.told["graph"] == tmp_path / "model.onnx"
    assert fake.told["flags"] == 1 << 1
    shapes = [((1, 1), (16, 18), (64, 18)), ((1, 19), (16, 66), (64, 66))]
    assert fake.told["profiles"] == [{"INPUT_IDS": s, "ATTENTION_MASK": s} for s in shapes]
    assert fake.told["timings"] == b""
    assert timings.read_bytes() == b"timings"
    again = FakeTensorRT()
    build_plan(again, tmp_path / "model.onnx", PROFILES, timings)
    assert again.told["timings"] == b"timings"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"parses": False}, r"11\.4\.0\.106 cannot read model\.onnx: In node 3: unknown operator Attention"),
        ({"takes_profiles": False}, r"refuses the profile Profile\(rows=\(1, 16, 64\)"),
        ({"builds": False}, r"built no plan of model\.onnx: see what it logged"),
    ],
)
def test_what_tensorrt_says_is_said(broken: dict[str, bool], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        build_plan(FakeTensorRT(**broken), tmp_path / "model.onnx", PROFILES, tmp_path / "timings")
    assert not (tmp_path / "timings").exists()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        ConfigError, match=r"for the GPU that it runs on, with TensorRT .*pip install 'tesserank\[tensorrt\]'"
    ):
        find_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.4.0.106"))  # type: ignore[misc]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"finds none here .*--engine plain here, and with --engine tensorrt there"):
        find_tensorrt()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert find_tensorrt()[1] == TARGET


def test_a_plan_is_run_with_the_profile_of_its_shape() -> None:
    engine = PlanEngine.__new__(PlanEngine)
    engine._profiles = PROFILES
    assert [engine._profile(1, 1), engine._profile(64, 18), engine._profile(2, 19), engine._profile(1, 66)] == [
        0,
        0,
        1,
        1,
    ]
    for rows, length in ((65, 18), (1, 67)):
        with pytest.raises(InvalidArgumentError, match=f"{rows} rows of {length} tokens: the plan has no profile"):
            engine._profile(rows, length)


@pytest.mark.parametrize(
    ("precision", "capability", "needed"),
    [("fp8", (8, 0), r"8\.9 \(Ada, Hopper\)"), ("bf16", (7, 5), r"8\.0 \(Ampere\)")],
)
def test_what_a_gpu_cannot_multiply_is_refused(precision: str, capability: tuple[int, int], needed: str) -> None:
    for allowed in ("fp16", "fp32"):
        check_precision(allowed, replace(TARGET, capability=capability))
    check_precision(precision, TARGET)
    with pytest.raises(ConfigError, match=rf"{precision} needs .* {needed} or higher, NVIDIA H100 has .*fp16"):
        check_precision(precision, replace(TARGET, capability=capability))


def test_the_variant_finds_the_plan_of_every_gpu_by_its_capability() -> None:
    config = text_format.Parse(VARIANT.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    assert config.cc_model_filenames["9.0"] == served_plan(TARGET.file) == "model.sm90.plan"
    for key, name in config.cc_model_filenames.items():
        major, minor = map(int, key.split("."))
        assert name == served_plan(plan_file((major, minor), "1"))
    served = ProviderSettings()
    prepared = profiles(served.profile_lengths, served.profile_rows, 512)
    assert list(config.instance_group[0].profile) == [str(number) for number in range(len(prepared))]
    assert config.max_batch_size == served.profile_rows[1]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp8", "fp32"])
def test_an_export_has_the_plan_its_parity_and_the_repository_serves_it(
    precision: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is a stand-in, which answers as the graph does that it was built of; in bfloat16, as the plain one."""
    fakes: list[FakeTensorRT] = []

    def find() -> tuple[FakeTensorRT, Target]:
        fakes.append(FakeTensorRT())
        return fakes[-1], TARGET

    def open_plan(trt: FakeTensorRT, plan: bytes, prepared: list[Profile], dim: int) -> OnnxEngine:
        assert plan == b"plan"
        assert dim == DIM
        (plain,) = tmp_path.glob("artifacts/.work/plain-*/encoder/model.plain.onnx")
        return OnnxEngine(plain if precision == "bf16" else fakes[0].told["graph"], threads=1)

    monkeypatch.setattr(encoder_steps, "find_tensorrt", find)
    monkeypatch.setattr(encoder_steps, "PlanEngine", open_plan)
    artifact, output = run_export(make_options(tmp_path, bert, engines=("plain", "tensorrt"), plan_precision=precision))
    assert (Layout(artifact).plans / "sm90-tensorrt11.4.0.106.plan").read_bytes() == b"plan"
    graph = onnx.load(fakes[0].told["graph"]).graph
    assert any(node.op_type == "QuantizeLinear" for node in graph.node) == (precision == "fp8")
    found = {array.data_type for array in graph.initializer}
    assert HALVES & found == HALVES_OF[precision]
    assert len(fakes[0].told["profiles"]) == 6, "as many as the variant names, though this encoder takes 66 tokens"
    assert "tensorrt: max error" in output
    error = read_json(Layout(artifact).parity)["tensorrt"]["max_error"]
    assert error < {"fp16": 0.005, "fp8": 0.1}.get(precision, 1e-5)
    assemble(TRACKED_REPOSITORY, artifact, tmp_path / "repository")
    assert (tmp_path / "repository" / "segment_encoder" / "1" / "model.sm90.plan").read_bytes() == b"plan"


def test_without_a_gpu_nothing_is_published(bert: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="--engine tensorrt builds for the GPU that it runs on"):
        run_export(make_options(tmp_path, bert, engines=("tensorrt",)))
    assert not (tmp_path / "artifacts" / "tiny" / "current").exists()
