"""Reads from Triton's log the one line that says why it did not start."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

TAIL_LINES = 400
SHOWN_LINES = 15

# What Triton 24.10 prints, the most telling first. Its own messages are quoted, with newlines and tracebacks escaped.
_CAUSES = (
    re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?:\w[\w ]*: )?(?P<message>.*)"),
    re.compile(r"(?P<message>(?:Error parsing text-format|Poll failed for model directory) .*)"),
    re.compile(r"^(?P<message>error: .*)"),
    re.compile(r"(?P<message>Error: (?!Failed to initialize NVML).*)"),
)


def tail(log_file: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log; none when there is no log yet."""
    if not log_file.is_file():
        return []
    with log_file.open(encoding="utf-8", errors="replace") as stream:
        return [line.rstrip("\n") for line in deque(stream, maxlen=lines)]


def explain(log_file: Path) -> str:
    """Why the server failed, in a few lines: the models' own errors, or else the end of the log."""
    lines = tail(log_file)
    for pattern in _CAUSES:
        causes = [_describe(match) for line in lines if (match := pattern.search(line))]
        if causes:
            return "\n".join(dict.fromkeys(causes))
    return "\n".join(lines[-SHOWN_LINES:]) or "it printed nothing"


def _describe(match: re.Match[str]) -> str:
    message = match["message"].rstrip('"')
    # The backend appends the traceback after an escaped "At:"; the exception itself comes first.
    message = message.split("\\n\\nAt:")[0].replace("\\n", "\n").strip()
    model = match.groupdict().get("model")
    return f"model {model}: {message}" if model and model not in message else message
