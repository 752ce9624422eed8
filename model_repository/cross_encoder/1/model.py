"""cross_encoder: the baseline that late interaction replaces, one forward pass a (history, item) pair.

Its backbone is the segment encoder's own and its pair head is untrained: it is here for its cost, not for its ranking.
"""

from tesserank import protocol
from tesserank.artifact.bundle import open_template
from tesserank.artifact.layout import CROSS_ENCODER_PART, TOKENIZER_PART, Layout
from tesserank.artifact.manifest import load_manifest
from tesserank.encoding.engines import open_pair_engine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.segments.reader import load_segments
from tesserank.serving import backend
from tesserank.serving.cross import PAIR_ROWS, PairScorer


class TritonPythonModel:
    def initialize(self, args):
        root = backend.artifact_directory(args)
        manifest = load_manifest(root, [CROSS_ENCODER_PART, TOKENIZER_PART])
        precision = backend.parameter(args, "precision", "") or manifest.precision
        self.scorer = PairScorer(
            TextTokenizer(Layout(root).tokenizer),
            open_template(root),
            open_pair_engine(root, precision, backend.engine_settings(args)),
            max_rows=backend.int_parameter(args, "pair_rows", PAIR_ROWS),
            limits=load_segments(Layout(root).segments).limits,
        )

    def execute(self, requests):
        return backend.respond_each(requests, protocol.CROSS_ENCODER, self._score)

    def _score(self, arrays):
        history, candidates = (arrays[tensor.name] for tensor in protocol.CROSS_ENCODER.inputs)
        return {protocol.CROSS_ENCODER.outputs[0].name: self.scorer.score(history[:, 0].tolist(), candidates.tolist())}
