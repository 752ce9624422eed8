"""Every config.pbtxt says what tesserank.protocol says: names, datatypes, shapes, what may be left out."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tesserank import protocol
from tesserank.encoding.engines import EngineSettings
from tesserank.encoding.template import LENGTH_BUCKETS
from tesserank.protocol import Interface, Tensor

REPOSITORY = Path(__file__).parents[2] / "model_repository"
FILES = sorted([*REPOSITORY.glob("*/config.pbtxt"), *REPOSITORY.glob("*/configs/*.pbtxt")])
INTERFACES = {interface.model: interface for interface in protocol.INTERFACES}
REQUEST_PATH = [
    interface.model
    for interface in (
        protocol.RECOMMEND,
        protocol.SEGMENT_RANKER,
        protocol.SEGMENT_EMBEDDER,
        protocol.SEGMENTED_MAXSIM,
    )
]


def parse(path: Path) -> Any:
    """The file as Triton reads it: an unknown field is an error."""
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def datatype_name(value: int) -> str:
    """TYPE_STRING, TYPE_FP32, ... in the spelling of the protocol: BYTES, FP32, ..."""
    name = str(model_config_pb2.DataType.Name(value)).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def model_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).parts[0]


configs = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))


def test_every_model_of_the_protocol_is_in_the_repository_and_no_other() -> None:
    assert {path.name for path in REPOSITORY.iterdir()} == set(INTERFACES)
    assert {model_of(path) for path in FILES if path.name == "config.pbtxt"} == set(INTERFACES)


def test_the_encoder_has_a_variant_for_each_kind_of_gpu_image() -> None:
    variants = {path.stem: parse(path) for path in FILES if path.parts[-3:-1] == ("segment_encoder", "configs")}
    assert {name: config.backend for name, config in variants.items()} == {
        "onnxruntime": "onnxruntime",
        "tensorrt": "tensorrt",
        "torch": "python",
    }
    assert variants["onnxruntime"].default_model_filename == "model.onnx", "where assemble puts the graph"


@configs
def test_the_tensors_are_the_protocols(path: Path) -> None:
    config, interface = parse(path), INTERFACES[model_of(path)]
    assert config.name == interface.model

    def tensors(entries: Any) -> list[Tensor]:
        return [
            Tensor(t.name, datatype_name(t.data_type), tuple(t.dims), getattr(t, "optional", False)) for t in entries
        ]

    assert tensors(config.input) == list(interface.inputs)
    assert tensors(config.output) == list(interface.outputs)


@configs
def test_a_batch_holds_as_many_users_as_a_request_may(path: Path) -> None:
    config = parse(path)
    if model_of(path) in REQUEST_PATH:
        assert config.max_batch_size == protocol.MAX_USERS
    else:
        assert config.max_batch_size > 0


@configs
def test_models_batch_and_have_no_queue_policy(path: Path) -> None:
    """With any policy Triton 24.10 hands a model one batch at a time, and at times forgets to wake up for the next
    one: it then waits for 500 ms. See docs/architecture/04-serving.md.
    """
    config = parse(path)
    if config.platform == "ensemble":
        assert not config.HasField("dynamic_batching"), "the step batches, the ensemble does not"
        return
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert not config.dynamic_batching.priority_queue_policy
    assert not config.dynamic_batching.priority_levels


@configs
def test_warm_up_feeds_inputs_that_the_model_has(path: Path) -> None:
    config, interface = parse(path), INTERFACES[model_of(path)]
    datatypes = {tensor.name: tensor.datatype for tensor in interface.inputs}
    for sample in config.model_warmup:
        for name, value in sample.inputs.items():
            assert datatype_name(value.data_type) == datatypes[name]
        required = {tensor.name for tensor in interface.inputs if not tensor.optional}
        assert required <= set(sample.inputs)
    if config.platform == "ensemble":
        assert not config.model_warmup, "Triton refuses to warm up an ensemble"


# The engine torch warms itself up: zeros, which is all that a model_warmup can send, are padding to it.
WARMED = [path for path in FILES if model_of(path) == "segment_encoder" and path.stem != "torch"]


@pytest.mark.parametrize("path", WARMED, ids=lambda path: path.stem)
def test_the_encoder_is_warmed_up_in_lengths_that_it_will_be_given(path: Path) -> None:
    samples = parse(path).model_warmup
    lengths = {value.dims[0] for sample in samples for value in sample.inputs.values()}
    assert lengths
    assert lengths <= set(LENGTH_BUCKETS)


@pytest.mark.parametrize("path", [p for p in FILES if "engine" in parse(p).parameters], ids=lambda path: path.stem)
def test_the_encoders_parameters_can_be_used(path: Path) -> None:
    parameters = parse(path).parameters
    found = EngineSettings.read(
        lambda name, default: parameters[name].string_value if name in parameters else default, threads=2
    )
    assert found == EngineSettings(engine="torch" if path.stem == "torch" else "onnx")


def test_what_is_on_a_gpu_with_torch_is_all_there_together() -> None:
    variants = {model_of(path): parse(path) for path in FILES if path.stem == "torch"}
    assert set(variants) == {"segment_encoder", "segment_ranker", "segmented_maxsim"}
    for model, config in variants.items():
        assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
        assert config.parameters["device"].string_value == "auto"
        plain = parse(REPOSITORY / model / "config.pbtxt")
        assert set(plain.parameters) - set(config.parameters) <= {
            "encoder_threads",
            "encoder_lengths",
            "execution_provider",
        }, model
    assert variants["segmented_maxsim"].parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "no"


@pytest.mark.parametrize("caller", ["segment_ranker", "segment_embedder"])
def test_no_model_is_asked_for_more_rows_than_it_takes(caller: str) -> None:
    rows = int(parse(REPOSITORY / caller / "config.pbtxt").parameters["encoder_rows"].string_value)
    for path in FILES:
        if model_of(path) == "segment_encoder":
            assert rows <= parse(path).max_batch_size


@pytest.fixture(scope="module")
def steps() -> list[Any]:
    config = parse(REPOSITORY / "recommend" / "config.pbtxt")
    assert config.platform == "ensemble"
    return list(config.ensemble_scheduling.step)


def test_the_ensemble_is_one_step(steps: list[Any]) -> None:
    assert [step.model_name for step in steps] == ["segment_ranker"]
    assert all(step.model_version == -1 for step in steps), "the newest version, so that one can be swapped in"


def names(tensors: tuple[Tensor, ...]) -> set[str]:
    return {tensor.name for tensor in tensors}


def test_every_tensor_of_every_step_is_connected(steps: list[Any]) -> None:
    for step in steps:
        interface = INTERFACES[step.model_name]
        assert set(step.input_map) == names(interface.inputs), f"inputs of {step.model_name}"
        assert set(step.output_map) == names(interface.outputs), f"outputs of {step.model_name}"


def test_every_connection_leads_from_a_tensor_to_the_same_one(steps: list[Any]) -> None:
    recommend = protocol.RECOMMEND
    available: dict[str, Tensor] = {tensor.name: tensor for tensor in recommend.inputs}
    used: set[str] = set()
    for step in steps:
        interface: Interface = INTERFACES[step.model_name]
        for tensor in interface.inputs:
            assert available[step.input_map[tensor.name]] == tensor
            used.add(step.input_map[tensor.name])
        for tensor in interface.outputs:
            assert step.output_map[tensor.name] not in available, "two sources of one tensor"
            available[step.output_map[tensor.name]] = tensor
    for tensor in recommend.outputs:
        assert available[tensor.name] == tensor
        used.add(tensor.name)
    assert used == set(available), "an input of the ensemble that no step reads, or an output that nobody does"


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("*/1/model.py")), ids=model_of)
def test_the_code_of_a_model_defines_what_triton_looks_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    methods = {node.name for node in classes["TritonPythonModel"].body if isinstance(node, ast.FunctionDef)}
    assert {"initialize", "execute"} <= methods
    assert parse(path.parents[1] / "config.pbtxt").backend == "python"
