"""Text to token ids, by the checkpoint's own tokenizer.json; special tokens are left to the Template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer


class TextTokenizer:
    """Token ids of texts, without special tokens, padding or truncation."""

    def __init__(self, tokenizer_json: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_json))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @property
    def vocabulary_size(self) -> int:
        """One above the largest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def __call__(self, text: str) -> list[int]:
        """Token ids of one text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def token(self, token_id: int) -> str:
        """One token as the vocabulary spells it, as ``##ing``."""
        token: str | None = self._tokenizer.id_to_token(token_id)
        return f"[{token_id}]" if token is None else token

    def text(self, token_ids: Sequence[int]) -> str:
        """Tokens put together again, without special ones: the text as the encoder saw it."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def many(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, tokenised in parallel."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]
