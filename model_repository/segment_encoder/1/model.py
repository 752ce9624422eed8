"""segment_encoder in Python, on ONNX Runtime or PyTorch, as its parameter ``engine`` says. Rows are segments."""

import triton_python_backend_utils as pb_utils

from tesserank.artifact.layout import ENCODER_PART
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engines import open_engine
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.serving import backend
from tesserank.serving.encoder import EncoderQueue
from tesserank.serving.metrics import EncoderMetrics, Publisher


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        precision = load_manifest(root, [ENCODER_PART]).precision
        self.queue = EncoderQueue(open_engine(root, precision, backend.engine_settings(args)))
        self.publisher = Publisher([EncoderMetrics(pb_utils, SEGMENT_ENCODER.model, self.queue.counts)])
        backend.prepare_process()

    def execute(self, requests):
        self.queue.submit([backend.incoming(request, SEGMENT_ENCODER) for request in requests])

    def finalize(self):
        self.queue.close()
        self.publisher.close()
