"""The client of a tesserank server: recommendations over gRPC or HTTP, synchronous or under asyncio.

    with tesserank_client.Client("127.0.0.1:8001") as client:
        answer = client.recommend(history=["B004756YJA"], texts={"query": "hand cream"}, top_k=5)
        for item in answer.items:
            print(item.item_id, item.score)

Every error is a ``TesserankClientError``; ``_errors`` draws the tree.
"""

from tesserank_client._client import AsyncClient, Client
from tesserank_client._config import Timeout
from tesserank_client._errors import (
    ClientClosedError,
    ConnectError,
    DeadlineExceededError,
    EmptyRequestError,
    InternalServerError,
    InvalidArgumentError,
    LimitExceededError,
    ModelUnavailableError,
    RequestRejectedError,
    ServerError,
    TesserankClientError,
    TopKTooLargeError,
    TransportError,
    UnknownItemError,
)
from tesserank_client._request import Event, Request, Text
from tesserank_client._result import Recommendation, Recommendations

__all__ = [
    "AsyncClient",
    "Client",
    "ClientClosedError",
    "ConnectError",
    "DeadlineExceededError",
    "EmptyRequestError",
    "Event",
    "InternalServerError",
    "InvalidArgumentError",
    "LimitExceededError",
    "ModelUnavailableError",
    "Recommendation",
    "Recommendations",
    "Request",
    "RequestRejectedError",
    "ServerError",
    "TesserankClientError",
    "Text",
    "Timeout",
    "TopKTooLargeError",
    "TransportError",
    "UnknownItemError",
]
