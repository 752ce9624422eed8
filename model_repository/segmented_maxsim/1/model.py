"""segmented_maxsim: segments × candidates (or the whole catalogue) → segment scores → one score → top-k."""

from threadpoolctl import threadpool_limits

from tesserank import protocol
from tesserank.artifact.bundle import open_segments
from tesserank.artifact.layout import INDEX_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.index import load_index
from tesserank.serving import backend
from tesserank.serving.pack import RankingPacker
from tesserank.serving.ranker import open_scorer
from tesserank.serving.segments import SegmentBatch
from tesserank.serving.unpack import ranking_options


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        load_manifest(root, [INDEX_PART])
        index = load_index(Layout(root).index)
        config = open_segments(root, index)
        threadpool_limits(1, "blas")  # items are spread over threads; BLAS threads on top would fight them
        self.channel_spaces = [channel.space for channel in config.channels()]
        self.dims = {name: space.dim for name, space in index.spaces.items()}
        self.pack = RankingPacker(index)
        device = backend.device(args)
        self.scorer = open_scorer(
            root, index, config, backend.int_parameter(args, "maxsim_threads", 2), device, looks_up=False
        )
        # Vectors that come on a GPU stay there for a scorer that is there too.
        self.stays = protocol.SEGMENT_EMBEDDINGS.name if device != "cpu" else ""
        backend.prepare_process()

    def execute(self, requests):
        return backend.respond_each(requests, protocol.SEGMENTED_MAXSIM, self._rank, self.stays)

    def _rank(self, arrays):
        batch = SegmentBatch.from_arrays(arrays)
        users = batch.users(self.channel_spaces, self.dims)
        return self.pack(self.scorer.rank(users, ranking_options(arrays)), batch.channels.shape[1])
