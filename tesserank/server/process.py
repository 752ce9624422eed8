"""A child process that leaves nothing behind: it ends with its parent, and its own children end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tesserank.errors import ServerError

_EXEC = Path(__file__).with_name("_exec.py")


class GuardedProcess:
    """A program in a session of its own (a terminal's Ctrl-C does not reach it), which dies when this process does.

    The kernel sends the death signal when the *thread* that started the child ends, so a thread of this class starts it
    and then waits for it, whichever thread the caller is in.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], log_file: Path) -> None:
        self._command = [sys.executable, "-I", "-S", str(_EXEC), str(os.getpid()), *command]
        self._environment = dict(environment)
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tritonserver", daemon=True)

    def start(self) -> None:
        """Starts the program; its output is appended to the log file. Raises ServerError when it cannot be started."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise ServerError(f"cannot start {self._command[5]}: {self._error}") from self._error

    @property
    def pid(self) -> int:
        """Process id. Raises ServerError before ``start``."""
        if self._process is None:
            raise ServerError("the server is not started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: the signal that ended it); None while it runs."""
        return self._process.returncode if self._process is not None and self._ended.is_set() else None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for the end; returns the exit status, or None when ``timeout_s`` passed first."""
        self._ended.wait(timeout_s)
        return self.returncode

    def terminate(self, timeout_s: float) -> None:
        """SIGTERM, then after ``timeout_s`` SIGKILL, to it and whatever is left of its process group."""
        if not self._thread.is_alive() and self._process is None:
            return
        self._started.wait()  # an interrupted start() may not have seen the process yet
        if self._process is None:
            return
        try:
            if not self._ended.is_set():
                self._process.send_signal(signal.SIGTERM)
                self._ended.wait(timeout_s)
        finally:  # a second Ctrl-C cuts the patience short, not the cleaning up
            self._kill_group(self._process.pid)
            self._ended.wait()

    def _run(self) -> None:
        try:
            with self._log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self._error = error
        finally:
            self._started.set()
        if self._process is not None:
            self._process.wait()
        self._ended.set()

    @staticmethod
    def _kill_group(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # nobody left: the usual case
            os.killpg(pid, signal.SIGKILL)
