"""Requests of the load test as perf_analyzer's input data: the tensors that the client sends, one step a request.

The format: ``docs/input_data.md`` of triton-inference-server/perf_analyzer. A step names the inputs that its request
has, flat and row-major, with the shape without the batch's dimension, which perf_analyzer adds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tesserank_bench.errors import BenchmarkError
from tesserank_client._request import check
from tesserank_client._tensors import Call, encode_cross_encoder, encode_recommend
from tesserank_loadtest.workload import CrossEncoderRequest, Prepared

Step = dict[str, dict[str, list[Any]]]  # by input: its content and its shape


def write_input_data(prepared: Iterable[Prepared], path: Path) -> None:
    """Write the requests as a file for ``--input-data``: one stream, in their order."""
    steps = [step(encode(each)) for each in prepared]
    path.write_text(json.dumps({"data": steps}, ensure_ascii=False), encoding="utf-8")


def encode(prepared: Prepared) -> Call:
    """The call that the client makes of a request."""
    if isinstance(prepared, CrossEncoderRequest):
        return encode_cross_encoder(prepared.history_text, prepared.candidate_texts)
    return encode_recommend([check(prepared)])


def step(call: Call) -> Step:
    """The tensors of a call for one user. Raises BenchmarkError for one of several."""
    tensors: Step = {}
    for tensor, array in call.inputs:
        if len(array) != 1:
            raise BenchmarkError(f"{tensor.name} has {len(array)} rows: perf_analyzer takes the tensors of one")
        values = [value.decode("utf-8") if isinstance(value, bytes) else value for value in array.ravel().tolist()]
        tensors[tensor.name] = {"content": values, "shape": list(array.shape[1:])}
    return tensors
