"""The client's copy of the wire contract agrees with the server's."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tesserank import protocol as server
from tesserank_client import _protocol as client
from tesserank_client._errors import _BY_CODE
from tesserank_client._tensors import NUMPY_DTYPES


@pytest.mark.parametrize("name", ["RECOMMEND", "CROSS_ENCODER"])
def test_client_and_server_agree_on_the_tensors_of(name: str) -> None:
    assert asdict(getattr(client, name)) == asdict(getattr(server, name))


def test_client_and_server_agree_on_error_codes() -> None:
    assert {code.name: code.value for code in client.ErrorCode} == {code.name: code.value for code in server.ErrorCode}


def test_every_error_code_has_a_type_of_its_own() -> None:
    assert set(_BY_CODE) == set(client.ErrorCode)
    assert len(set(_BY_CODE.values())) == len(_BY_CODE)


def test_client_and_server_agree_on_the_default_top_k() -> None:
    assert client.DEFAULT_TOP_K == server.DEFAULT_TOP_K


def test_every_datatype_of_an_input_has_a_numpy_dtype() -> None:
    inputs = (*client.RECOMMEND.inputs, *client.CROSS_ENCODER.inputs)
    assert {tensor.datatype for tensor in inputs} <= set(NUMPY_DTYPES)
