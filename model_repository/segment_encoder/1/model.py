"""segment_encoder on ONNX Runtime in Python, for servers without an ONNX Runtime backend. Rows are segments."""

import triton_python_backend_utils as pb_utils

from tesserank.artifact.layout import ENCODER_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engine import OnnxEngine
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.serving import backend
from tesserank.serving.encoder import EncoderQueue
from tesserank.serving.metrics import EncoderMetrics, Publisher


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        precision = load_manifest(root, [ENCODER_PART]).precision
        threads = backend.int_parameter(args, "encoder_threads", 2)
        engine = OnnxEngine.for_precision(Layout(root).encoder(precision), precision, threads)
        self.queue = EncoderQueue(engine)
        self.publisher = Publisher([EncoderMetrics(pb_utils, SEGMENT_ENCODER.model, self.queue.counts)])
        backend.prepare_process()

    def execute(self, requests):
        self.queue.submit([backend.incoming(request, SEGMENT_ENCODER) for request in requests])

    def finalize(self):
        self.queue.close()
        self.publisher.close()
