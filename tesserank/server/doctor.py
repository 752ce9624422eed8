"""Finds the broken stage of a running server: every stage is exercised, since a dead Python model still says READY."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tesserank.errors import ServerError
from tesserank.server.canary import CANARIES, Canary
from tesserank.server.connection import Connection, InferenceFailure, Tensors
from tesserank.server.environment import diagnose_environment, find_installation
from tesserank.server.ports import is_loopback
from tesserank.server.report import StageReport, Status

DEFAULT_TIMEOUT_S = 10.0
STAGES = ("connect", "live", "models", *(canary.interface.model for canary in CANARIES))


def diagnose(url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[StageReport]:
    """Reports on the stages connect, live, models and then each model's canary; all are listed, reached or not.

    ``url`` is ``host:port`` of the gRPC endpoint or ``http://host:port``; ``timeout_s`` bounds each stage.
    Raises ServerError for an unusable url, or when tritonclient is not installed; never for what it finds.
    """
    reports = [_attempt("connect", lambda: _connect(url, timeout_s))]
    if reports[-1].healthy:
        with Connection(url, timeout_s) as connection:
            reports.append(_attempt("live", lambda: _live(connection)))
            if reports[-1].healthy:
                reports += _diagnose_models(connection)
    return reports + [_not_reached(stage, reports[-1].stage) for stage in STAGES[len(reports) :]]


def canary(url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Returns when the whole pipeline has answered; raises ServerError naming every broken stage and its remedy."""
    broken = [report for report in diagnose(url, timeout_s) if report.status is Status.BROKEN]
    if broken:
        raise ServerError("\n".join(str(report) for report in broken))


def diagnose_host(url: str, tritonserver: Path | None = None) -> list[StageReport]:
    """Reports on what a server needs of this machine; nothing when ``url`` is another machine's."""
    if not is_loopback(_address(url)[0]):
        return []
    try:
        installation = find_installation(tritonserver)
    except ServerError as error:
        return [StageReport("tritonserver", Status.BROKEN, str(error))]
    found = StageReport("tritonserver", Status.OK, str(installation.executable))
    return [found, *diagnose_environment(installation)]


def _diagnose_models(connection: Connection) -> list[StageReport]:
    states: dict[str, str] = {}
    reports = [_attempt("models", lambda: _models(connection, states))]
    answers: dict[str, Tensors] = {}
    for stage in CANARIES if states else ():
        model = stage.interface.model
        if absent := [needed for needed in stage.needs if needed not in answers]:
            reports.append(_not_reached(model, absent[0]))
        else:
            reports.append(_attempt(model, partial(_infer, connection, stage, states, answers)))
    return reports


def _attempt(stage: str, action: Callable[[], str]) -> StageReport:
    started = time.perf_counter()
    try:
        status, detail, remedy = Status.OK, action(), ""
    except InferenceFailure as failure:
        status, detail, remedy = Status.BROKEN, failure.detail, failure.remedy
    return StageReport(stage, status, detail, remedy, time.perf_counter() - started)


def _not_reached(stage: str, because: str) -> StageReport:
    return StageReport(stage, Status.NOT_REACHED, f"because of {because}")


def _connect(url: str, timeout_s: float) -> str:
    host, port = _address(url)
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:
        detail = f"nothing answers at {host}:{port} ({error.strerror or error})"
        raise InferenceFailure(detail, "start it with `tesserank serve`, or name its address with --url") from error
    return f"{host}:{port}"


def _live(connection: Connection) -> str:
    try:
        if connection.is_live():
            return "the server is live"
    except InferenceFailure as failure:
        remedy = "--url takes Triton's gRPC endpoint as host:8001, or its HTTP endpoint as http://host:8000"
        raise InferenceFailure(f"no Triton answers there ({failure.detail})", remedy) from failure
    raise InferenceFailure("the server says that it is not live", "restart the server")


def _models(connection: Connection, states: dict[str, str]) -> str:
    states |= connection.model_states()
    wanted = [stage.interface.model for stage in CANARIES]
    unready = [f"{model} is {states.get(model, 'absent')}" for model in wanted if states.get(model) != "READY"]
    if unready:
        raise InferenceFailure(
            f"{len(wanted) - len(unready)} of {len(wanted)} models ready: {'; '.join(unready)}",
            "make export, then restart the server and read its log",
        )
    return f"{len(wanted)} of {len(wanted)} models ready"


def _infer(connection: Connection, stage: Canary, states: dict[str, str], answers: dict[str, Tensors]) -> str:
    """Sends as many canaries as there are instances and, when the answers are sound, adds the last to ``answers``."""
    model = stage.interface.model
    if states.get(model) != "READY":
        remedy = "make export, then restart the server and read its log"
        raise InferenceFailure(f"the model is {states.get(model, 'absent')}", remedy)
    # Triton hands requests that come one after the other to one instance after the other, if no others come between.
    instances = connection.instances(model)
    for _ in range(instances):
        outputs = connection.infer(model, stage.inputs(answers))
        stage.check(outputs)
    answers[model] = outputs
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in list(outputs.items())[:2])
    return shapes if instances == 1 else f"{shapes}, of {instances} instances"


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None or parts.scheme not in ("grpc", "http"):
        raise ServerError(f"--url {url!r} is neither host:port (gRPC) nor http://host:port")
    return host, port
