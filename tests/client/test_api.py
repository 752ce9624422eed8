"""What a user of the package sees."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys

import pytest

import tesserank_client
from tesserank_client import AsyncClient, Client, TesserankClientError, _errors

METHODS = ["recommend", "recommend_many", "cross_encode", "is_ready", "close"]


def test_everything_public_is_in_all_and_nothing_else() -> None:
    public = {name for name, value in vars(tesserank_client).items() if not name.startswith("_")}
    assert tesserank_client.__all__ == sorted(public)


def test_every_module_is_private() -> None:
    names = [module.name for module in pkgutil.iter_modules(tesserank_client.__path__)]
    assert names
    assert all(name.startswith("_") for name in names)


def test_everything_public_is_documented() -> None:
    undocumented = [name for name in tesserank_client.__all__ if not inspect.getdoc(getattr(tesserank_client, name))]
    assert undocumented == []


@pytest.mark.parametrize("method", METHODS)
def test_async_client_has_the_signature_of_the_sync_client_for(method: str) -> None:
    sync, asynchronous = getattr(Client, method), getattr(AsyncClient, method)
    assert inspect.signature(asynchronous) == inspect.signature(sync)
    assert inspect.iscoroutinefunction(asynchronous)
    assert not inspect.iscoroutinefunction(sync)


def test_the_drawn_tree_is_the_hierarchy() -> None:
    drawn, ancestors = {}, {}
    for line in (_errors.__doc__ or "").splitlines():
        name = next((word for word in line.split() if word.endswith("Error")), None)
        if name is None or not line.lstrip(" ─│├└").startswith(name):
            continue
        depth = line.index(name) // 4
        ancestors[depth] = name
        drawn[name] = ancestors.get(depth - 1)
    actual = {
        name: error.__bases__[0].__name__ if error is not TesserankClientError else None
        for name, error in vars(_errors).items()
        if inspect.isclass(error) and issubclass(error, TesserankClientError)
    }
    assert drawn == actual


def test_importing_it_imports_neither_a_transport_nor_the_server() -> None:
    script = (
        "import sys, tesserank_client; "
        "print(*{'tritonclient', 'grpc', 'gevent', 'aiohttp', 'tesserank'} & set(sys.modules))"
    )
    assert _stdout_of(script) == ""


@pytest.mark.parametrize(
    ("protocol", "other"),
    [("grpc", "{'gevent', 'aiohttp', 'tesserank'}"), ("http", "{'grpc', 'aiohttp', 'tesserank'}")],
)
def test_a_client_imports_no_transport_but_its_own(protocol: str, other: str) -> None:
    script = (
        f"import sys, tesserank_client; tesserank_client.Client(protocol='{protocol}').close(); "
        f"print(*{other} & set(sys.modules))"
    )
    assert _stdout_of(script) == ""


def _stdout_of(script: str) -> str:
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return run.stdout.strip()
