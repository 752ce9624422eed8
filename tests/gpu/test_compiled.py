"""The kernels compile for Hopper without a GPU: what the machine code is made of, and what it takes of the chip."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

# In a process of its own: this one has the interpreter.
COMPILE = """
import json, os, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tesserank.maxsim.gpu import kernels

tools = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin")
for line in sys.stdin:
    task = json.loads(line)
    function = getattr(kernels, task["kernel"])
    constants = task["constants"]
    if "PRODUCT" in constants:
        constants["PRODUCT"] = getattr(triton.language, constants["PRODUCT"])
    signature = {name: task["types"].get(name, "constexpr") for name in function.arg_names}
    source = ASTSource(
        function, signature, {(function.arg_names.index(name),): value for name, value in constants.items()},
        {(i,): [["tt.divisibility", 16]] for i, t in enumerate(signature.values()) if t.startswith("*")},
    )
    options = {"num_warps": task["warps"], "num_stages": task.get("stages", 2), "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        ask = lambda option: subprocess.run(
            [os.path.join(tools, "cuobjdump"), option, file.name], capture_output=True, text=True, check=True
        ).stdout
        print(json.dumps({"shared": compiled.metadata.shared, "code": ask("-sass"), "usage": ask("-res-usage")}))
"""
SCORES = {
    "factors": "*fp32", "group_pieces": "*i32", "step_ends": "*i32", "job_rows": "*i32", "offsets": "*i64",
    "candidates": "*i64", "job_candidates": "*i64", "scores": "*fp32", "score_stride": "i32",
}  # fmt: skip
NAMES = {"*fp16": "float16", "*bf16": "bfloat16", "*i8": "int8", "*fp8e4nv": "float8e4nv"}


def compile_all(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], input="\n".join(map(json.dumps, tasks)), env=environment,
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def piece_scores(queries: str, vectors: str, stages: int = 3, **changed: Any) -> dict[str, Any]:
    constants: Mapping[str, Any] = {
        "D": 128, "STEP": 64, "ITEMS": 8, "SLOTS": 32, "GROUP": 8, "WHOLE": True, "GATHER": False,
        "PRODUCT": NAMES[queries],
    } | changed  # fmt: skip
    types = {**SCORES, "queries": queries, "vectors": vectors}
    return {"kernel": "piece_scores", "types": types, "constants": constants, "warps": 4, "stages": stages}


# What the tensor cores of Hopper multiply is HGMMA (16 bits), QGMMA (fp8), IGMMA (int8); HMMA is the slower way of old.
CASES = {
    "float16": (piece_scores("*fp16", "*fp16"), "HGMMA"),
    "bfloat16": (piece_scores("*bf16", "*bf16"), "HGMMA"),
    "int8 by int8": (piece_scores("*i8", "*i8"), "IGMMA"),
    "fp8 by fp8": (piece_scores("*fp8e4nv", "*fp8e4nv"), "QGMMA"),
    "int8, wide queries": (piece_scores("*fp16", "*i8"), "HGMMA"),
    "fp8, wide queries": (piece_scores("*fp16", "*fp8e4nv"), "HGMMA"),
    "candidates": (piece_scores("*fp16", "*fp16", stages=2, GATHER=True, ITEMS=2), "HGMMA"),
    "documents": (piece_scores("*fp16", "*fp16", stages=4, WHOLE=False, ITEMS=4, SLOTS=16), "HGMMA"),
}


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, Any]]:
    return dict(zip(CASES, compile_all([task for task, _ in CASES.values()]), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_products_run_on_hoppers_own_tensor_cores_and_nothing_spills(
    name: str, compiled: dict[str, dict[str, Any]]
) -> None:
    code, usage = compiled[name]["code"], compiled[name]["usage"]
    assert CASES[name][1] in code
    assert not re.search(r"\bHMMA\b|\bIMMA\b", code)
    assert not re.search(r"\b(STL|LDL)\b", code), "registers were spilled"
    assert re.search(r"STACK:0\b", usage)


@pytest.mark.parametrize("name", CASES)
def test_two_programs_fit_a_multiprocessor(name: str, compiled: dict[str, dict[str, Any]]) -> None:
    registers = int(re.findall(r"REG:(\d+)", compiled[name]["usage"])[0])
    assert 2 * (compiled[name]["shared"] + 1024) <= 228 << 10  # a kilobyte of each is the system's
    assert 2 * 128 * registers <= 65536


@pytest.mark.parametrize("name", [name for name, (task, _) in CASES.items() if task["constants"]["ITEMS"] >= 4])
def test_nothing_crosses_threads_but_the_sums_of_pieces(name: str, compiled: dict[str, dict[str, Any]]) -> None:
    """Eight threads hold the rows of a group: three exchanges for each of a thread's sums, none for the maxima."""
    constants = CASES[name][0]["constants"]
    sums = constants["STEP"] * constants["ITEMS"] // 128
    others = 5  # the longest item of a tile
    assert len(re.findall(r"\bSHFL\b", compiled[name]["code"])) <= 3 * sums + others


def test_the_other_kernels_compile_too() -> None:
    tasks = [
        {
            "kernel": "pack",
            "types": {
                "tokens": "*fp32", "weights": "*fp32", "sources": "*i32", "steps": "*fp32", "queries": queries,
                "sizes": "*fp32", "factors": "*fp32", "dim": "i32", "peak": "fp32",
            },
            "constants": {"D": 128, "ROUND": queries == "*i8"},
            "warps": 1,
        }
        for queries in ("*fp16", "*i8", "*fp8e4nv")
    ]  # fmt: skip
    tasks.append({
        "kernel": "add_pieces",
        "types": {
            "pieces": "*fp32", "unit_pieces": "*i32", "unit_jobs": "*i32", "job_candidates": "*i64", "scores": "*fp32",
            "piece_stride": "i32", "score_stride": "i32",
        },
        "constants": {"BLOCK": 1024},
        "warps": 4,
    })  # fmt: skip
    tasks.append({
        "kernel": "token_pairs",
        "types": {
            "queries": "*fp16", "job_rows": "*i32", "job_outputs": "*i64", "vectors": "*i8", "offsets": "*i64",
            "candidates": "*i64", "best_tokens": "*i32", "best_products": "*fp32", "k": "i32",
        },
        "constants": {"D": 128, "ROWS": 64, "SLOTS": 32, "PRODUCT": "float16"},
        "warps": 4,
    })  # fmt: skip
    tasks.extend({
        "kernel": "aggregate",
        "types": {
            "units": "*fp32", "segment_units": "*i32", "segment_weights": "*fp32", "channel_segments": "*i32",
            "channel_scales": "*fp32", "user_channels": "*i32", "user_counts": "*i64", "scores": "*fp32",
            "segment_scores": "*fp32", "temperature": "fp32", "unit_stride": "i32", "score_stride": "i32",
            "segment_stride": "i32", "width": "i32",
        },
        "constants": {"SOFTMAX": softmax, "ADD": True, "SEGMENTS": True, "BLOCK": 256},
        "warps": 4,
    } for softmax in (True, False))  # fmt: skip
    for found in compile_all(tasks):
        assert re.search(r"STACK:0\b", found["usage"])
