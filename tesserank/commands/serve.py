"""Serve a model repository with Triton until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from tesserank.paths import MODEL_REPOSITORY
from tesserank.server.launcher import TritonServer
from tesserank.server.ports import GRPC_PORT, HTTP_PORT, METRICS_PORT
from tesserank.signals import sigterm_as_ctrl_c


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tesserank serve``."""
    parser.add_argument("--model-repository", type=Path, default=MODEL_REPOSITORY, metavar="DIR")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--http-port", type=int, default=HTTP_PORT, help="0 is any free port (default: %(default)s)")
    parser.add_argument("--grpc-port", type=int, default=GRPC_PORT, help="0 is any free port (default: %(default)s)")
    parser.add_argument(
        "--metrics-port", type=int, default=METRICS_PORT, help="0 is any free port (default: %(default)s)"
    )
    parser.add_argument(
        "--rankers",
        type=int,
        default=1,
        metavar="N",
        help="processes of segment_ranker, each with an index and a cache of its own: one keeps about one core busy "
        "(default: %(default)s)",
    )
    parser.add_argument("--model-config-name", metavar="NAME", help="load the variant configs/NAME.pbtxt of the models")
    parser.add_argument("--tritonserver", type=Path, metavar="PATH", help="the server to run (default: searched for)")
    parser.add_argument("--log-file", type=Path, metavar="FILE", help="the server's output (default: a temporary file)")
    parser.add_argument("--ready-timeout", type=float, default=120.0, metavar="S", help="seconds until it must answer")
    parser.add_argument("--exit-timeout", type=int, default=5, metavar="S", help="seconds for requests in flight")
    parser.add_argument("--log-verbose", type=int, default=0, metavar="LEVEL", help="Triton's verbosity")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let the embedded Triton 24.10, which has known vulnerabilities, listen on other than loopback addresses",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the server; returns 0 when it was asked to stop. Raises ServerError when it does not start, or dies."""
    console = Console()
    with sigterm_as_ctrl_c():
        try:
            server = _configure(args)
            started = time.monotonic()
            console.print(f"starting Triton on {args.model_repository} …")
            with server:
                server.wait_answering(timeout_s=max(1.0, args.ready_timeout - (time.monotonic() - started)))
                _announce(console, server, time.monotonic() - started)
                server.wait()
                raise server.failure()
        except KeyboardInterrupt:
            console.print("stopped")
            return 0


def _configure(args: argparse.Namespace) -> TritonServer:
    return TritonServer(
        args.model_repository,
        host=args.host,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        log_file=args.log_file,
        rankers=args.rankers,
        model_config_name=args.model_config_name,
        tritonserver=args.tritonserver,
        ready_timeout_s=args.ready_timeout,
        exit_timeout_s=args.exit_timeout,
        log_verbose=args.log_verbose,
        allow_remote=args.allow_remote,
    )


def _announce(console: Console, server: TritonServer, seconds: float) -> None:
    urls = server.urls
    console.print(f"ready: the whole pipeline answers ({seconds:.1f} s)")
    for name, value in (("gRPC", urls.grpc), ("HTTP", urls.http), ("metrics", urls.metrics), ("log", server.log_file)):
        console.print(f"  {name:8} {value}", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops it")
