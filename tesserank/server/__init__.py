"""The server launcher: finds a tritonserver, starts it on a model repository, and tells which stage of it is broken."""

from tesserank.server.launcher import TritonServer, Urls
from tesserank.server.report import StageReport, Status

__all__ = ["StageReport", "Status", "TritonServer", "Urls"]
