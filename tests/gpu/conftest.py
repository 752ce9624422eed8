"""On the GPU if there is one, else in Triton's interpreter, as the settings of all tests say."""

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU: torch.cuda.is_available() is false"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU if there is one, else the CPU as its stand-in."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
