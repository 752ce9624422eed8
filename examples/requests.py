"""Cold, warm and hot variants of one user's request, and the same user as a cross-encoder reads it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from examples.sample_data import Showcase
from tesserank_client import Event, Request

EVENT_GAP_S = 60  # the next event of the session that the newest event belongs to


def hot(user: Showcase, candidates: Sequence[str] | None) -> Request:
    """The user as they are: asked twice, every segment is in the cache the second time."""
    rows = zip(user.item_ids, user.timestamps, user.kinds, strict=True)
    history = [Event(item, timestamp, kind) for item, timestamp, kind in rows]
    return Request(history=history, texts=dict(user.texts), candidates=candidates)


def warm(
    user: Showcase, candidates: Sequence[str] | None, item_ids: Sequence[str], encodes: bool, turn: int
) -> Request:
    """The user one step later: only the newest segment is new.

    If the history is encoded (``encodes``: cut by session or content) that step is one more event; else its items come
    from the index, and the step is another text.
    """
    request = hot(user, candidates)
    if not encodes:
        name, text = next(iter(user.texts.items()))
        return replace(request, texts={**user.texts, name: f"{text} {turn}"})
    unseen = [item for item in item_ids if item not in user.item_ids]
    item = unseen[turn % len(unseen)]
    newest = Event(item, user.timestamps[-1] + EVENT_GAP_S, user.kinds[-1])
    return replace(request, history=[*request.history, newest])


def cold(user: Showcase, candidates: Sequence[str] | None, item_ids: Sequence[str], turn: int) -> Request:
    """A user never seen: as many events at the same times, but items of no earlier turn, and texts with another word.

    Raises ValueError when the items are used up.
    """
    unseen = [item for item in item_ids if item not in user.item_ids]
    random.Random(0).shuffle(unseen)  # neighbours in a catalogue are alike, a user's items are not
    events = len(user.item_ids)
    items = unseen[turn * events : (turn + 1) * events]
    if len(items) < events:
        raise ValueError(f"{len(unseen)} items are not enough for {turn + 1} users of {events} events who share none")
    texts = {name: f"{text} {turn + 1000}" for name, text in user.texts.items()}
    return hot(replace(user, item_ids=items, texts=texts), candidates)


def history_text(user: Showcase, texts: Mapping[str, str]) -> str:
    """What a cross-encoder reads of the user: the texts, then the items of the history, newest last."""
    return ". ".join([*user.texts.values(), *(texts[item] for item in user.item_ids)])
