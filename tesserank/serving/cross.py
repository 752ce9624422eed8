"""The cross-encoder's side of the comparison, batched as well as pairs can be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batch import Encode
from tesserank.encoding.template import Template, pad_rows
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.errors import LimitExceededError
from tesserank.limits import Limits
from tesserank.serving.request import decode_text

PAIR_ROWS = 32  # of one forward pass, where nothing else is configured


class PairScorer:
    """Scores (history, item) text pairs with one forward pass each; ``score_pairs`` maps ids and mask to [rows]."""

    def __init__(
        self, tokenizer: TextTokenizer, template: Template, score_pairs: Encode, max_rows: int, limits: Limits
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._score_pairs = score_pairs
        self._max_rows = max_rows
        self._limits = limits

    def score(self, histories: Sequence[bytes], candidates: Sequence[Sequence[bytes]]) -> NDArray[np.float32]:
        """Scores of B histories with their N candidates each, float32 [B, N]; 0 where a candidate is "" (padding).

        Raises InvalidArgumentError for a text that is not UTF-8, LimitExceededError for too many or too long ones.
        """
        self._check_limits(histories, candidates)
        scores = np.zeros((len(histories), len(candidates[0]) if candidates else 0), dtype=np.float32)
        pairs: list[NDArray[np.int64]] = []
        places: list[tuple[int, int]] = []
        for row, (history, texts) in enumerate(zip(histories, candidates, strict=True)):
            first = self._tokenizer(decode_text(history, "HISTORY_TEXT", row))
            for column, text in enumerate(texts):
                if text:
                    second = self._tokenizer(decode_text(text, "CANDIDATE_TEXTS", row))
                    pairs.append(compose_pair(self._template, first, second))
                    places.append((row, column))
        # Neighbours in length share a batch, padded only to the longest of it: the least padding there can be.
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i]))
        for start in range(0, len(order), self._max_rows):
            chunk = order[start : start + self._max_rows]
            inputs = pad_rows([pairs[i] for i in chunk], len(pairs[chunk[-1]]), self._template.pad)
            for i, score in zip(chunk, self._score_pairs(*inputs), strict=True):
                scores[places[i]] = score
        return scores

    def _check_limits(self, histories: Sequence[bytes], candidates: Sequence[Sequence[bytes]]) -> None:
        pairs = sum(map(len, candidates))
        if pairs > self._limits.max_pairs:
            raise LimitExceededError(f"{pairs:,} pairs, the limit max_pairs is {self._limits.max_pairs:,}")
        longest = max(map(len, chain(histories, *candidates)), default=0)
        if longest > self._limits.max_text_bytes:
            raise LimitExceededError(
                f"{longest:,} bytes in a text, the limit max_text_bytes is {self._limits.max_text_bytes:,}"
            )


def compose_pair(template: Template, history: Sequence[int], item: Sequence[int]) -> NDArray[np.int64]:
    """Both sides' token ids → int64 [L], one input. A history that does not fit loses its oldest tokens."""
    item = item[: template.room(2)]
    room = template.room(2) - len(item)
    newest = history[max(len(history) - room, 0) :]
    return template.compose([newest, item]).input_ids
