"""segment_embedder: users' contexts → segments → token vectors, from the index, the cache, or segment_encoder (BLS)."""

from functools import partial

import numpy as np
import triton_python_backend_utils as pb_utils

from tesserank import protocol
from tesserank.artifact.bundle import open_segments, open_template
from tesserank.artifact.layout import INDEX_PART, TOKENIZER_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import RequestError, TesserankError
from tesserank.index import load_index
from tesserank.serving import backend
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.metrics import CacheMetrics
from tesserank.serving.unpack import user_contexts

MIB = 1 << 20


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        backend.check_neighbours(args, load_manifest(root, [TOKENIZER_PART, INDEX_PART]))
        index = load_index(Layout(root).index)
        self.cache = SegmentCache(backend.int_parameter(args, "cache_mib", 256, lowest=0) * MIB)
        self.metrics = CacheMetrics(pb_utils)
        self.embedder = SegmentEmbedder(
            index=index,
            config=open_segments(root, index),
            template=open_template(root),
            tokenize=TextTokenizer(Layout(root).tokenizer),
            cache=self.cache,
            encode=encode,
            max_rows=backend.int_parameter(args, "encoder_rows", 64, highest=64),
        )

    def execute(self, requests):
        """Users of all requests are embedded together, so that their misses share the encoder's batches."""
        responses = self._embed_together(requests)
        self.metrics.update(self.cache.counters())
        return responses

    def _embed_together(self, requests):
        contexts = []
        try:
            for request in requests:
                contexts.append(user_contexts(backend.inputs_of(request, protocol.SEGMENT_EMBEDDER)))
            embedded = self.embedder.embed([user for users in contexts for user in users])
        except RequestError:  # someone's request is wrong: answer each on its own, so that only theirs fails
            return backend.respond_each(requests, protocol.SEGMENT_EMBEDDER, self._embed_one)
        except Exception as error:  # the server's own fault, such as a dead encoder: asking it again helps nobody
            return [backend.failure(error) for _ in requests]
        ends = np.cumsum([len(users) for users in contexts])
        return [
            backend.respond(partial(pack, embedded.users(slice(end - len(users), end))))
            for users, end in zip(contexts, ends, strict=True)
        ]

    def _embed_one(self, arrays):
        return pack(self.embedder.embed(user_contexts(arrays)))


def encode(input_ids, attention_mask):
    """Call segment_encoder, whose dynamic batcher may add other callers' rows."""
    ids, mask = (tensor.name for tensor in protocol.SEGMENT_ENCODER.inputs)
    embeddings = protocol.SEGMENT_ENCODER.outputs[0].name
    request = pb_utils.InferenceRequest(
        model_name=protocol.SEGMENT_ENCODER.model,
        requested_output_names=[embeddings],
        inputs=[pb_utils.Tensor(ids, input_ids), pb_utils.Tensor(mask, attention_mask)],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    answer = request.exec()
    if answer.has_error():
        raise TesserankError(f"{protocol.SEGMENT_ENCODER.model}: {answer.error().message()}")
    return pb_utils.get_output_tensor_by_name(answer, embeddings).as_numpy()


def pack(embedded):
    batch = embedded.batch

    def column(values):
        return np.asarray(values, dtype=np.int32)[:, None]

    return {
        protocol.SEGMENT_EMBEDDINGS.name: batch.embeddings,
        protocol.TOKEN_WEIGHTS.name: batch.token_weights,
        protocol.TOKEN_GROUPS.name: batch.token_groups,
        protocol.SEGMENT_CHANNELS.name: batch.channels,
        protocol.SEGMENT_WEIGHTS.name: batch.weights,
        protocol.SEGMENT_LABELS.name: batch.labels,
        protocol.UNKNOWN_HISTORY.name: column(embedded.unknown),
        protocol.TRUNCATED_TOKENS.name: column(embedded.truncated),
        protocol.CACHE_HITS.name: column(embedded.hits),
        protocol.CACHE_MISSES.name: column(embedded.misses),
    }
