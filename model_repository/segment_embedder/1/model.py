"""segment_embedder: users' contexts → segments → token vectors, from the index, the cache, or segment_encoder (BLS)."""

import triton_python_backend_utils as pb_utils

from tesserank import protocol
from tesserank.artifact.layout import INDEX_PART, TOKENIZER_PART
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.serving import backend
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.metrics import CacheMetrics, Publisher
from tesserank.serving.pack import embedding_arrays
from tesserank.serving.unpack import user_contexts

MODEL = protocol.SEGMENT_EMBEDDER.model


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        backend.check_neighbours(args, load_manifest(root, [TOKENIZER_PART, INDEX_PART]))
        cache = SegmentCache(backend.int_parameter(args, "cache_mib", 256, lowest=0) << 20)
        self.embedder = SegmentEmbedder.open(
            root,
            cache=cache,
            encode=backend.call_encoder,
            rows=backend.encoder_rows(args),
        )
        self.publisher = Publisher([CacheMetrics(pb_utils, MODEL, cache.counters)])
        backend.prepare_process()

    def execute(self, requests):
        """What the users of all requests miss is encoded together; a request that is wrong fails alone."""
        planned = [self._plan(request) for request in requests]
        usable = [users for users in planned if not isinstance(users, Exception)]
        try:
            self.embedder.encode(usable)
        except Exception as error:  # the server's own fault, such as a dead encoder: asking it again helps nobody
            return [backend.failure(error) for _ in requests]
        return [backend.respond(lambda users=users: self._answer(users)) for users in planned]

    def finalize(self):
        self.publisher.close()

    def _plan(self, request):
        try:
            return self.embedder.plan(user_contexts(backend.inputs_of(request, protocol.SEGMENT_EMBEDDER)))
        except Exception as error:  # whatever it is, this request's client must hear of it and no other's
            return error

    def _answer(self, users):
        if isinstance(users, Exception):
            raise users
        return embedding_arrays(self.embedder.finish(users))
