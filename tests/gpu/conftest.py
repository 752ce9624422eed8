"""Without a GPU the kernels run in Triton's interpreter, which has to be said before they are imported."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU: torch.cuda.is_available() is false"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU if there is one, else the CPU as its stand-in."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
