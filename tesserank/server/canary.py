"""The canary: the smallest request that each model of the pipeline must answer, and what a sound answer looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tesserank import protocol
from tesserank.protocol import Interface
from tesserank.server.connection import InferenceFailure, Tensors

CANARY_TEXT = "canary"
CANARY_TOKENS = 16  # the shortest length that every build of the encoder accepts

Answers = Mapping[str, Tensors]


@dataclass(frozen=True)
class Canary:
    """A model's canary: ``inputs`` makes its request from the answers of ``needs``."""

    interface: Interface
    needs: tuple[str, ...]
    inputs: Callable[[Answers], Tensors]

    def check(self, outputs: Tensors) -> None:
        """Raises InferenceFailure unless every output of the interface is there, not empty and finite."""
        names = [tensor.name for tensor in self.interface.outputs]
        missing = [name for name in names if name not in outputs]
        if missing:
            remedy = "the model is of another version: make export, then restart the server"
            raise InferenceFailure(f"no output {', '.join(missing)}", remedy)
        empty = [name for name in names if outputs[name].size == 0]
        if empty:
            remedy = "numpy 2 in the server's environment does this, silently: pip install 'numpy<2' and restart it"
            raise InferenceFailure(f"{', '.join(empty)} came back empty", remedy)
        wild = [name for name in names if outputs[name].dtype.kind == "f" and not np.isfinite(outputs[name]).all()]
        if wild:
            raise InferenceFailure(f"{', '.join(wild)} not finite", "the artefacts are unsound: make export")


def _bytes(text: str) -> npt.NDArray[np.object_]:
    """One row of one string: BYTES [1, 1]."""
    return np.array([[text.encode()]], dtype=np.object_)


def _encoder_inputs(answers: Answers) -> Tensors:
    ids = np.resize(np.array([0, 1], dtype=np.int64), (1, CANARY_TOKENS))
    return {"INPUT_IDS": ids, "ATTENTION_MASK": np.ones_like(ids)}


def _text_inputs(answers: Answers) -> Tensors:
    # without a name it is the first text segment of the segments file, whatever that is called
    return {protocol.TEXT_NAMES.name: _bytes(""), protocol.TEXTS.name: _bytes(CANARY_TEXT)}


def _top_1() -> Tensors:
    return {protocol.TOP_K.name: np.ones((1, 1), dtype=np.int32)}


def _maxsim_inputs(answers: Answers) -> Tensors:
    embedded = answers[protocol.SEGMENT_EMBEDDER.model]
    wanted = {tensor.name for tensor in protocol.SEGMENTED_MAXSIM.inputs}
    return {name: array for name, array in embedded.items() if name in wanted} | _top_1()


def _recommend_inputs(answers: Answers) -> Tensors:
    return _text_inputs(answers) | _top_1()


def _cross_encoder_inputs(answers: Answers) -> Tensors:
    return {"HISTORY_TEXT": _bytes(CANARY_TEXT), "CANDIDATE_TEXTS": _bytes(CANARY_TEXT)}


# In the order of the request path, so that a broken stage is met before those that depend on it.
CANARIES = (
    Canary(protocol.SEGMENT_ENCODER, (), _encoder_inputs),
    Canary(protocol.SEGMENT_RANKER, ("segment_encoder",), _recommend_inputs),
    Canary(protocol.RECOMMEND, ("segment_ranker",), _recommend_inputs),
    # the same path in two steps
    Canary(protocol.SEGMENT_EMBEDDER, ("segment_encoder",), _text_inputs),
    Canary(protocol.SEGMENTED_MAXSIM, ("segment_embedder",), _maxsim_inputs),
    Canary(protocol.CROSS_ENCODER, (), _cross_encoder_inputs),
)
