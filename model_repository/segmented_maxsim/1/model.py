"""segmented_maxsim: segments × candidates (or the whole catalogue) → segment scores → one score → top-k."""

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank import protocol
from tesserank.artifact.bundle import open_segments
from tesserank.artifact.layout import INDEX_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.index import load_index
from tesserank.serving import backend
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import SegmentBatch
from tesserank.serving.unpack import ranking_options


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        load_manifest(root, [INDEX_PART])
        index = load_index(Layout(root).index).in_float32()
        config = open_segments(root, index)
        self.item_ids = np.array([item_id.encode() for item_id in index.item_ids], dtype=object)
        threadpool_limits(1, "blas")  # blocks are spread over threads; BLAS threads on top would fight them
        self.scorer = SegmentScorer.threaded(index, config, backend.int_parameter(args, "maxsim_threads", 2))
        self.scorer.warm_up()

    def execute(self, requests):
        return backend.respond_each(requests, protocol.SEGMENTED_MAXSIM, self._rank)

    def _rank(self, arrays):
        batch = SegmentBatch.from_arrays(arrays)
        rankings = self.scorer.rank(batch, ranking_options(arrays))
        users, segments = batch.channels.shape
        longest = max(len(ranking.rows) for ranking in rankings)
        ids = np.full((users, longest), b"", dtype=object)
        scores = np.full((users, longest), -np.inf, dtype=np.float32)
        segment_scores = np.zeros((users, longest, segments), dtype=np.float32)
        contributions = np.zeros_like(segment_scores)
        for row, ranking in enumerate(rankings):
            count = len(ranking.rows)
            ids[row, :count] = self.item_ids[ranking.rows]
            scores[row, :count] = ranking.scores
            segment_scores[row, :count] = ranking.segment_scores
            contributions[row, :count] = ranking.contributions
        return {
            protocol.ITEM_IDS.name: ids,
            protocol.SCORES.name: scores,
            protocol.SEGMENT_SCORES.name: segment_scores,
            protocol.SEGMENT_CONTRIBUTIONS.name: contributions,
            protocol.UNKNOWN_CANDIDATES.name: np.array([[r.unknown_candidates] for r in rankings], dtype=np.int32),
        }
