"""The processes of the load generator: Locust's own, so that gevent patches their standard library alone."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tesserank.server import logs
from tesserank.server.process import GuardedProcess
from tesserank_loadtest.errors import LoadTestError
from tesserank_loadtest.plan import PLAN_VARIABLE, Plan
from tesserank_loadtest.reports import Reports

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
WEB_HOST = "127.0.0.1"
GRACE_S = 60.0  # to start, to read the workload, to spawn the users and to end
INTERRUPT_GRACE_S = 5.0  # to write what was counted, once the last request is answered
POLL_S = 0.2


@dataclass(frozen=True)
class Start:
    """How a run begins and ends: users come ``spawn_rate`` a second; None is all at once. With a ``web_port`` Locust's
    web page starts and stops them, and Ctrl-C ends the run."""

    spawn_rate: float | None = None
    web_port: int | None = None


def run_locust(plan: Plan, start: Start, reports: Reports, on_tick: Callable[[float], None]) -> None:
    """Run the plan, saved already, to its end, what was counted written. ``on_tick`` is told the seconds passed.

    Raises:
        LoadTestError: Locust did not start, did not end, or failed.
        KeyboardInterrupt: Ctrl-C during a run without web page. Locust has ended, and what was counted is written.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    environment[PLAN_VARIABLE] = str(reports.plan.resolve())
    process = GuardedProcess(locust_command(plan, start), environment=environment, log_file=reports.locust_log)
    patience_s = plan.timeout_s + GRACE_S
    try:
        process.start()
        _wait(process, None if start.web_port else plan.duration_s + 2 * patience_s, on_tick)
    except KeyboardInterrupt:
        _interrupt(process, every_s=plan.timeout_s + INTERRUPT_GRACE_S, limit_s=patience_s)
        if start.web_port is None:
            raise
    finally:
        process.terminate(5.0)
    if process.returncode != 0 or not reports.recorder.exists():
        raise LoadTestError(
            f"locust ended with status {process.returncode}:\n{logs.explain(reports.locust_log)}\n"
            f"The whole log: {reports.locust_log}"
        )


def locust_command(plan: Plan, start: Start) -> list[str]:
    """The command line of Locust."""
    # Of an open loop each process has one user, which sends all that the process has to.
    users = plan.processes if plan.users is None else plan.users
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--host", ", ".join(plan.urls.values())]
    command += ["--users", str(users), "--spawn-rate", f"{start.spawn_rate or users:g}"]
    # Requests under way at the end are awaited: to drop them would drop the slowest.
    command += ["--stop-timeout", str(math.ceil(plan.timeout_s))]  # Locust takes whole seconds
    # Failed requests are a result, told by the reports; the exit status tells of Locust itself.
    command += ["--exit-code-on-error", "0"]
    if plan.processes > 1:
        port = str(_free_port())
        command += ["--processes", str(plan.processes), "--master-bind-host", WEB_HOST, "--master-bind-port", port]
        command += ["--master-port", port]
    if start.web_port is not None:
        return [*command, "--web-host", WEB_HOST, "--web-port", str(start.web_port)]
    # The run ends itself when the last answer is there; the time is for one that does not.
    limit_s = int(plan.duration_s + plan.timeout_s + GRACE_S)
    return [*command, "--headless", "--only-summary", "--run-time", str(limit_s)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((WEB_HOST, 0))
        return int(probe.getsockname()[1])


def _interrupt(process: GuardedProcess, every_s: float, limit_s: float) -> None:
    """Ask Locust to end with what was counted written, and ask again if it does not.

    A SIGINT is a KeyboardInterrupt in whichever greenlet runs, and one of a user or of a web page may swallow it.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        os.kill(process.pid, signal.SIGINT)
        if process.wait(every_s) is not None:
            return


def _wait(process: GuardedProcess, limit_s: float | None, on_tick: Callable[[float], None]) -> None:
    started = time.monotonic()
    while process.wait(POLL_S) is None:
        passed = time.monotonic() - started
        if limit_s is not None and passed > limit_s:
            raise LoadTestError(f"locust has not ended after {passed:.0f} s, {limit_s:.0f} s were allowed")
        on_tick(passed)
