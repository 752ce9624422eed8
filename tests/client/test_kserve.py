"""The client's messages are tritonclient's own, byte by byte, and so is what it reads from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from tesserank_client import Event, Request
from tesserank_client._kserve import decode_answer, decode_strings, encode_call, encode_strings
from tesserank_client._request import check
from tesserank_client._tensors import Call, encode_recommend

# Equally long ones too, which take a way of their own.
elements = st.lists(st.binary(max_size=6), min_size=1, max_size=20) | st.lists(
    st.binary(min_size=3, max_size=3), min_size=1, max_size=20
)


def strings(values: list[bytes]) -> Any:
    array = np.empty((1, len(values)), dtype=object)
    array[0] = values
    return array


@given(elements)
def test_strings_are_written_as_tritonclient_writes_them(values: list[bytes]) -> None:
    assert encode_strings(strings(values)) == serialize_byte_tensor(strings(values)).item()


@given(elements)
def test_strings_are_read_as_tritonclient_reads_them(values: list[bytes]) -> None:
    content = serialize_byte_tensor(strings(values)).item()
    assert decode_strings(content).tolist() == deserialize_bytes_tensor(content).tolist() == values


def tritonclients_message(call: Call, timeout: float) -> Any:
    """What tritonclient sends for the same tensors."""
    inputs = []
    for tensor, array in call.inputs:
        infer_input = triton.InferInput(tensor.name, list(array.shape), tensor.datatype)
        infer_input.set_data_from_numpy(array)
        inputs.append(infer_input)
    return triton._client._get_inference_request(
        model_name=call.interface.model,
        inputs=inputs,
        model_version="",
        request_id="",
        outputs=[triton.InferRequestedOutput(output.name) for output in call.interface.outputs],
        sequence_id=0,
        sequence_start=False,
        sequence_end=False,
        priority=0,
        timeout=int(timeout * 1e6),
        parameters=None,
    )


@pytest.mark.parametrize(
    "requests",
    [
        [Request(["a"])],
        [Request(["a", "bc"], {"query": "tent"}, candidates=["x", "yy"], exclude=["a"], top_k=1)] * 3,
        [Request([Event("a", 1, "view", 0.5)], categories=["tents"], exclude_history=True)],
    ],
    ids=["least", "several users", "everything else"],
)
def test_a_call_is_the_message_that_tritonclient_would_send(requests: list[Request]) -> None:
    call = encode_recommend([check(request) for request in requests])
    assert encode_call(call, 2.5) == tritonclients_message(call, 2.5)


def test_an_answer_is_read_as_tritonclient_reads_it() -> None:
    message = service_pb2.ModelInferResponse(model_name="recommend")
    outputs = {
        "ITEM_IDS": ("BYTES", strings([b"a", b"", b"\xff\x00"])),
        "SCORES": ("FP32", np.array([[1.5, -np.inf]], dtype=np.float32)),
        "CACHE_HITS": ("INT32", np.array([[3]], dtype=np.int32)),
        "NONE": ("FP32", np.zeros((1, 0), dtype=np.float32)),
    }
    for name, (datatype, array) in outputs.items():
        message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        content = serialize_byte_tensor(array).item() if datatype == "BYTES" else array.tobytes()
        message.raw_output_contents.append(content)
    answer, theirs = decode_answer(message), triton.InferResult(message)
    assert set(answer) == set(outputs)
    for name, (_, array) in outputs.items():
        found = answer[name]
        assert found is not None
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(found, theirs.as_numpy(name))


def test_an_answer_that_lacks_content_is_an_error() -> None:
    message = service_pb2.ModelInferResponse()
    message.outputs.add(name="SCORES", datatype="FP32", shape=[1, 2])
    with pytest.raises(ValueError, match="shorter"):
        decode_answer(message)
