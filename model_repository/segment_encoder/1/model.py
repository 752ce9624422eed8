"""segment_encoder in Python, on ONNX Runtime or PyTorch, as its parameter ``engine`` says. Rows are segments."""

import numpy as np

from tesserank.artifact.layout import ENCODER_PART
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engines import open_engine
from tesserank.errors import InvalidArgumentError
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.serving import backend

IDS, MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        precision = load_manifest(root, [ENCODER_PART]).precision
        self.engine = open_engine(root, precision, backend.engine_settings(args))

    def execute(self, requests):
        """The dynamic batcher has put requests of one shape together: run them as one batch."""
        inputs = [backend.inputs_of(request, SEGMENT_ENCODER) for request in requests]
        try:
            ids = np.concatenate([arrays[IDS] for arrays in inputs])
            mask = np.concatenate([arrays[MASK] for arrays in inputs])
            embeddings = self.engine(ids, mask)
        except Exception:  # ids that the encoder does not know, say: run each request alone, so that only its own fails
            return backend.respond_each(requests, SEGMENT_ENCODER, self._encode_one)
        ends = np.cumsum([len(arrays[IDS]) for arrays in inputs])
        parts = np.split(embeddings, ends[:-1])
        return [backend.response({EMBEDDINGS: part}) for part in parts]

    def _encode_one(self, arrays):
        if arrays[IDS].shape != arrays[MASK].shape:
            raise InvalidArgumentError(f"{IDS} has shape {arrays[IDS].shape}, {MASK} {arrays[MASK].shape}")
        return {EMBEDDINGS: self.engine(arrays[IDS], arrays[MASK])}
