"""segment_encoder on ONNX Runtime's CPU provider, for servers without an ONNX Runtime backend. Rows are segments."""

import numpy as np
import triton_python_backend_utils as pb_utils

from tesserank.artifact.layout import ENCODER_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engine import OnnxEngine
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.serving import backend

IDS, MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        precision = load_manifest(root, [ENCODER_PART]).precision
        threads = backend.int_parameter(args, "encoder_threads", 2)
        self.engine = OnnxEngine.for_precision(Layout(root).encoder(precision), precision, threads)

    def execute(self, requests):
        """The dynamic batcher has put requests of one shape together: run them as one batch."""
        inputs = [backend.inputs_of(request, SEGMENT_ENCODER) for request in requests]
        try:
            ids = np.concatenate([arrays[IDS] for arrays in inputs])
            mask = np.concatenate([arrays[MASK] for arrays in inputs])
            embeddings = self.engine(ids, mask)
        except Exception as error:  # one batch, one fate: every client of it must hear
            return [backend.failure(error) for _ in requests]
        ends = np.cumsum([len(arrays[IDS]) for arrays in inputs])
        parts = np.split(embeddings, ends[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor(EMBEDDINGS, part)]) for part in parts]
