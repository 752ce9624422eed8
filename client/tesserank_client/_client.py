"""The clients. Sync and async differ in their transport alone: what is sent and read is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt

from tesserank_client._config import DEFAULT_TIMEOUT, Protocol, Timeout, check_url
from tesserank_client._errors import ClientClosedError, InvalidArgumentError, ServerError, TransportError
from tesserank_client._protocol import RECOMMEND
from tesserank_client._request import Event, Request, Row, Text, UnknownItems, check, check_many, check_string
from tesserank_client._result import Recommendations, decode_cross_encoder, decode_recommend
from tesserank_client._tensors import Call, encode_cross_encoder, encode_recommend
from tesserank_client._transport import AsyncTransport, Transport, open_async_transport, open_transport


class _Configured:
    """What both clients are made of, but for the transport."""

    def __init__(
        self, url: str | None = None, protocol: Protocol = "grpc", timeout: Timeout | float = DEFAULT_TIMEOUT
    ) -> None:
        self._url = check_url(url, protocol)
        self._protocol: Protocol = protocol
        self._timeout = timeout if isinstance(timeout, Timeout) else Timeout(timeout)
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._protocol}://{self._url}{' closed' if self._closed else ''}>"

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError(f"{self!r}: make a new one")


class Client(_Configured):
    """A client for synchronous code.

    Over gRPC it may be shared between threads; over HTTP every thread needs its own.

    Args:
        url: ``host:port``; by default 127.0.0.1 and the protocol's port (gRPC 8001, HTTP 8000).
        protocol: ``"grpc"`` or ``"http"``.
        timeout: The deadline of each call, in seconds or as a ``Timeout``; each call may have its own.

    Every method raises ``TesserankClientError`` alone; ``tesserank_client._errors`` draws the tree.
    """

    def __init__(
        self, url: str | None = None, protocol: Protocol = "grpc", timeout: Timeout | float = DEFAULT_TIMEOUT
    ) -> None:
        super().__init__(url, protocol, timeout)
        self._transport: Transport = open_transport(self._protocol, self._url, self._timeout)

    def recommend(
        self,
        history: Sequence[str | Event] = (),
        texts: str | Mapping[str, str] | Sequence[Text] = (),
        candidates: Sequence[str] | None = None,
        exclude: Iterable[str] = (),
        top_k: int | None = None,
        unknown_items: UnknownItems = "skip",
        exclude_history: bool | None = None,
        categories: Sequence[str] | None = None,
        timestamp: int | None = None,
        timeout: float | None = None,
    ) -> Recommendations:
        """The best items for one user.

        Args:
            history: Item ids or ``Event``s, oldest first.
            texts: Text segments by name, as ``{"query": "red shoes"}``, or ``Text``s where weights are wanted; a string
                alone is the first text segment that the server's configuration names.
            candidates: Ids to rank; None ranks the whole catalogue.
            exclude: Ids not to recommend.
            top_k: How many items to return; None is 10, or all candidates if they are fewer.
            unknown_items: What the server does with ids that are not in the catalogue: ``"skip"`` counts them in the
                answer, ``"reject"`` raises UnknownItemError.
            exclude_history: Whether items of the history are left out; None is True without ``candidates`` and
                False with them.
            categories: Only items of these categories are recommended; None is all items.
            timestamp: Unix seconds of the moment that is asked about; None is now. Only the space ``trend`` hears it.
            timeout: Seconds; None is the client's.

        Raises:
            RequestRejectedError: The request cannot succeed as it is; the subclass tells why.
            TransportError: No answer: ConnectError, DeadlineExceededError or a broken connection.
            ServerError: The server cannot answer.
        """
        request = Request(
            history, texts, candidates, exclude, top_k, unknown_items, exclude_history, categories, timestamp
        )
        return self._recommend([check(request)], timeout)[0]

    def recommend_many(self, requests: Sequence[Request], timeout: float | None = None) -> list[Recommendations]:
        """The best items for several users, in one inference; answers in the order of the requests.

        Either all requests have candidates or none has, and so for categories, timestamps and ``top_k``. Raises as
        ``recommend``; an error of one user is an error of all.
        """
        return self._recommend(_check_requests(requests), timeout)

    def cross_encode(
        self, history_text: str, candidate_texts: Sequence[str], timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """The baseline's scores: one forward pass for each pair of history and candidate.

        Returns:
            float32 [N], in the order of ``candidate_texts``. The pair head may be untrained: it is there for its cost.
        """
        call, candidates = _cross_encoder_call(history_text, candidate_texts)
        self._check_open()
        return decode_cross_encoder(self._transport.infer(call, self._timeout.within(timeout)), candidates)

    def is_ready(self, timeout: float | None = None) -> bool:
        """Whether the server can be reached and says that ``recommend`` is ready.

        A server whose model process died still says so: ``tesserank doctor`` asks for a real answer.
        """
        self._check_open()
        try:
            return self._transport.is_ready(RECOMMEND.model, self._timeout.within(timeout))
        except (TransportError, ServerError):
            return False

    def close(self) -> None:
        """Close the connections; closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recommend(self, rows: list[Row], timeout: float | None) -> list[Recommendations]:
        self._check_open()
        if not rows:
            return []
        answer = self._transport.infer(encode_recommend(rows), self._timeout.within(timeout))
        return decode_recommend(answer, len(rows))


class AsyncClient(_Configured):
    """``Client`` for asyncio, with the same arguments; it belongs to the loop that makes its first call.

    Cancelling a call's task raises asyncio's CancelledError, as everywhere; all else is a ``TesserankClientError``.
    """

    _transport: AsyncTransport | None = None

    async def recommend(
        self,
        history: Sequence[str | Event] = (),
        texts: str | Mapping[str, str] | Sequence[Text] = (),
        candidates: Sequence[str] | None = None,
        exclude: Iterable[str] = (),
        top_k: int | None = None,
        unknown_items: UnknownItems = "skip",
        exclude_history: bool | None = None,
        categories: Sequence[str] | None = None,
        timestamp: int | None = None,
        timeout: float | None = None,
    ) -> Recommendations:
        """See ``Client.recommend``."""
        request = Request(
            history, texts, candidates, exclude, top_k, unknown_items, exclude_history, categories, timestamp
        )
        return (await self._recommend([check(request)], timeout))[0]

    async def recommend_many(self, requests: Sequence[Request], timeout: float | None = None) -> list[Recommendations]:
        """See ``Client.recommend_many``."""
        return await self._recommend(_check_requests(requests), timeout)

    async def cross_encode(
        self, history_text: str, candidate_texts: Sequence[str], timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """See ``Client.cross_encode``."""
        call, candidates = _cross_encoder_call(history_text, candidate_texts)
        return decode_cross_encoder(await self._open().infer(call, self._timeout.within(timeout)), candidates)

    async def is_ready(self, timeout: float | None = None) -> bool:
        """See ``Client.is_ready``."""
        try:
            return await self._open().is_ready(RECOMMEND.model, self._timeout.within(timeout))
        except (TransportError, ServerError):
            return False

    async def close(self) -> None:
        """Close the connections; closing twice is allowed."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> AsyncTransport:
        # Not in __init__: both libraries bind what they make to the loop that runs at that moment.
        self._check_open()
        if self._transport is None:
            self._transport = open_async_transport(self._protocol, self._url, self._timeout)
        return self._transport

    async def _recommend(self, rows: list[Row], timeout: float | None) -> list[Recommendations]:
        transport = self._open()
        if not rows:
            return []
        answer = await transport.infer(encode_recommend(rows), self._timeout.within(timeout))
        return decode_recommend(answer, len(rows))


def _check_requests(requests: Sequence[Request]) -> list[Row]:
    rows = []
    for index, request in enumerate(check_many(requests, "requests")):
        try:
            rows.append(check(request))
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"request {index}: {error}") from error
    return rows


def _cross_encoder_call(history_text: str, candidate_texts: Sequence[str]) -> tuple[Call, int]:
    check_string(history_text, "history text")
    texts = [check_string(text, "candidate text") for text in check_many(candidate_texts, "candidate_texts")]
    if not texts:
        raise InvalidArgumentError("candidate_texts is empty: there is nothing to score")
    return encode_cross_encoder(history_text, texts), len(texts)
