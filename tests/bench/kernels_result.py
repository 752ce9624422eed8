"""A result of ``tesserank bench kernels``, made up, for what reads results."""

from __future__ import annotations

from typing import Any

from tesserank_bench.kernels.encoder import RAW, SEGMENTS, SENTENCE_TRANSFORMERS, SERVED, SESSIONS
from tesserank_bench.kernels.plan import BASE, THREADS
from tesserank_bench.kernels.verdicts import verdicts

CEILINGS = {"fp32 gemm": 80.0, "bf16 gemm": 2.0, "int8 gemm": 160.0}


def make_result() -> dict[str, Any]:
    """Two threads do twice what one does; MaxSim reaches 1.6 times the fp32 peak and 0.8 of the int8 peak."""
    result: dict[str, Any] = {
        "complete": True,
        "conditions": {"cpu": "a processor", "cores": 2},
        "ceilings": [
            {"ceiling": name, "by": "a library", "sizes": [1_024] * 3, "threads": threads, "gops": gops * threads}
            for name, gops in CEILINGS.items()
            for threads in THREADS
        ],
        "maxsim": [
            {
                "shape": vars(BASE),
                "vectors": vectors,
                "threads": threads,
                "candidates": candidates,
                "gops": gops * threads,
                "kernel_error": 1e-6,
                "max_error": 1e-3,
                "top10_agreement": 0.99,
            }
            for vectors, gops in (("int8", 128.0), ("float16", 40.0))
            for threads in THREADS
            for candidates in (None, 1_000)
        ],
        "contest": [
            {"peer": "tesserank, int8", "items": 500, "status": "measured", "prepare_s": 0.1, "p50_ms": 2.0}
            | {"top10_agreement": 0.99, "max_error": 1e-3},
            {"peer": "FastPlaid", "items": 500, "status": "not installed (no python): make bench-peers"},
        ],
        "encoder": [
            {"texts": texts, "contestant": contestant, "status": "measured", "tokens_per_s": rate}
            for texts, served in ((SEGMENTS, 4_750.0), (SESSIONS, 4_000.0))
            for contestant, rate in ((SERVED, served), (RAW, 5_000.0), (SENTENCE_TRANSFORMERS, 2_500.0))
        ],
    }
    result["targets"] = verdicts(result)
    return result
