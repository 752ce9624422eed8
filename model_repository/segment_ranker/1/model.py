"""segment_ranker: the whole request path in one process; segment_encoder is called for what is not cached."""

import triton_python_backend_utils as pb_utils
from threadpoolctl import threadpool_limits

from tesserank import protocol
from tesserank.artifact.layout import INDEX_PART, TOKENIZER_PART
from tesserank.artifact.manifest import load_manifest
from tesserank.serving import backend
from tesserank.serving.dispatch import Dispatcher
from tesserank.serving.metrics import CacheMetrics, EncoderMetrics, Publisher, StageMetrics
from tesserank.serving.stages import StageClock

INTERFACE = protocol.SEGMENT_RANKER


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        backend.check_neighbours(args, load_manifest(root, [TOKENIZER_PART, INDEX_PART]))
        threadpool_limits(1, "blas")  # items are spread over threads; BLAS threads on top would fight them
        clock = StageClock()
        opened = backend.open_ranker(args, root, clock)
        self.dispatcher = Dispatcher(opened.ranker)
        metrics = [
            CacheMetrics(pb_utils, INTERFACE.model, opened.cache),
            StageMetrics(pb_utils, INTERFACE.model, clock),
        ]
        if opened.encoder is not None:
            metrics.append(EncoderMetrics(pb_utils, INTERFACE.model, opened.encoder))
        self.publisher = Publisher(metrics)
        backend.prepare_process()

    def execute(self, requests):
        self.dispatcher.submit([backend.incoming(request, INTERFACE) for request in requests])

    def finalize(self):
        self.dispatcher.close()
        self.publisher.close()
