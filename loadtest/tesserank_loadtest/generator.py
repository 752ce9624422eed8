"""The process of the load generator: Locust's own, so that gevent patches its standard library and nobody else's."""

from __future__ import annotations

import os
import signal
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
GRACE_S = 60.0  # to start, to spawn the users and to write the reports
INTERRUPT_GRACE_S = 5.0  # to write the reports, once the last request is answered
POLL_S = 0.5


@dataclass(frozen=True)
class Schedule:
    """How long the users run and how they come.

    ``spawn_rate`` is in users a second. With a ``web_port``, Locust's web page starts and stops the users, and Ctrl-C
    ends the run; without one the run starts by itself and ends after ``duration_s``.
    """

    duration_s: int
    spawn_rate: float
    web_port: int | None = None


def run_locust(plan: Plan, schedule: Schedule, reports: Reports, on_tick: Callable[[float], None]) -> None:
    """Run the plan to its end, reports written. ``on_tick`` is told the seconds passed, twice a second.

    Raises:
        LoadTestError: Locust did not start, did not end, or failed.
        KeyboardInterrupt: Ctrl-C during a run without web page. Locust has ended, and its reports are written.
    """
    plan.save(reports.plan)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    environment[PLAN_VARIABLE] = str(reports.plan.resolve())
    command = locust_command(plan, schedule, reports)
    process = GuardedProcess(command, environment=environment, log_file=reports.locust_log)
    patience_s = plan.longest_request_s + GRACE_S
    try:
        process.start()
        _wait(process, None if schedule.web_port else schedule.duration_s + patience_s, on_tick)
    except KeyboardInterrupt:
        _interrupt(process, every_s=plan.longest_request_s + INTERRUPT_GRACE_S, limit_s=patience_s)
        if schedule.web_port is None:
            raise
    finally:
        process.terminate(5.0)
    if process.returncode != 0:
        raise LoadTestError(
            f"locust ended with status {process.returncode}:\n{logs.explain(reports.locust_log)}\n"
            f"The whole log: {reports.locust_log}"
        )


def locust_command(plan: Plan, schedule: Schedule, reports: Reports) -> list[str]:
    """The command line of Locust."""
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE)]
    command += ["--users", str(plan.all_users), "--spawn-rate", f"{schedule.spawn_rate:g}"]
    command += ["--run-time", str(schedule.duration_s), "--host", ", ".join(plan.urls.values())]
    command += ["--csv", str(reports.csv_prefix), "--html", str(reports.html)]
    # Requests under way at the end are awaited: to drop them would drop the slowest.
    command += ["--stop-timeout", f"{plan.longest_request_s:g}"]
    # Failed requests are a result, told by the reports; the exit status tells of Locust itself.
    command += ["--exit-code-on-error", "0"]
    if schedule.web_port is None:
        return [*command, "--headless", "--only-summary"]
    return [*command, "--web-host", WEB_HOST, "--web-port", str(schedule.web_port)]


def _interrupt(process: GuardedProcess, every_s: float, limit_s: float) -> None:
    """Ask Locust to end with its reports written, and ask again if it does not.

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
