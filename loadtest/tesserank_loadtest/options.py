"""The options of the command line, and the plan they make."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tesserank.errors import ConfigError
from tesserank.paths import MODEL_REPOSITORY
from tesserank_loadtest import ranges
from tesserank_loadtest.arrivals import KINDS, Arrivals
from tesserank_loadtest.plan import MODELS, PROTOCOLS, Plan, Protocol, WorkloadOptions
from tesserank_loadtest.scenario import CATALOGUE, load_scenario
from tesserank_loadtest.slo import NO_ERRORS, parse_slo
from tesserank_loadtest.target import check_url

DEFAULT_USERS = (8,)


def add_run_arguments(parser: argparse.ArgumentParser, *, inherit: bool = False) -> None:
    """The options of a run. With ``inherit`` those of a subcommand: what is not given there is as before it."""
    before = list(parser._actions)
    for add in (_server, _load, _requests, _report):
        add(parser)
    for action in parser._actions:
        if action not in before and not isinstance(action, argparse._HelpAction):
            if action.help and action.default is not None:
                action.help = action.help.replace("%(default)s", _shown(action.default))
            if inherit:
                action.default = argparse.SUPPRESS


def add_knee_arguments(parser: argparse.ArgumentParser) -> None:
    """The range that is searched."""
    search = parser.add_argument_group("the search")
    search.add_argument("--low", type=ranges.rate, default=1.0, metavar="R", help="requests/s to begin with (1)")
    search.add_argument("--high", type=ranges.rate, default=1000.0, metavar="R", help="the highest to try (1000)")
    search.add_argument(
        "--precision", type=ranges.precision, default=0.05, metavar="S", help="share to find the rate to (0.05)"
    )


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Two results and what may differ."""
    parser.add_argument("before", type=Path, help="a result.json, or the folder of a run")
    parser.add_argument("after", type=Path, help="another")
    parser.add_argument(
        "--tolerance", type=ranges.ratio, default=0.1, metavar="S", help="share that a figure may be worse by (0.1)"
    )


def _server(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument("--grpc-url", metavar="HOST:PORT", help="of a running server (default: 127.0.0.1:8001, if any)")
    group.add_argument("--http-url", metavar="HOST:PORT", help="of a running server (default: 127.0.0.1:8000, if any)")
    group.add_argument("--metrics-url", metavar="URL", help="its metrics page (default: port 8002, with default URLs)")
    group.add_argument(
        "--model-repository", type=Path, default=MODEL_REPOSITORY, metavar="DIR", help="to start one on (%(default)s)"
    )
    group.add_argument("--allow-remote", action="store_true", help="load a server on another machine")


def _load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the load")
    group.add_argument("--protocol", choices=(*PROTOCOLS, "both"), help="default: both, or those whose URL is given")
    group.add_argument(
        "--model", choices=MODELS, default="recommend", help="the cross-encoder to compare (%(default)s)"
    )
    loop = group.add_mutually_exclusive_group()
    loop.add_argument(
        "--users",
        type=ranges.users,
        default=DEFAULT_USERS,
        metavar="N[,N...]",
        help="closed loop: at the same time; several, one after the other, are a sweep (%(default)s)",
    )
    loop.add_argument("--rate", type=ranges.rate, metavar="R", help="open loop: requests a second")
    group.add_argument("--arrivals", choices=KINDS, default="poisson", help="of an open loop (%(default)s)")
    group.add_argument("--peak", type=ranges.rate, metavar="R", help="of step, spike and diurnal: requests a second")
    group.add_argument("--duration", type=ranges.seconds, default=20, metavar="S", help="whole seconds (%(default)s)")
    group.add_argument(
        "--warmup", type=ranges.warmup, default=0.0, metavar="S", help="of it, not counted (%(default)s)"
    )
    group.add_argument("--spawn-rate", type=ranges.rate, metavar="R", help="users a second (default: all at once)")
    group.add_argument("--timeout", type=ranges.timeout, default=5.0, metavar="S", help="of a request (%(default)s)")
    group.add_argument(
        "--max-in-flight",
        type=ranges.positive,
        default=1000,
        metavar="N",
        help="requests of an open loop that wait; arrivals beyond are dropped, and errors (%(default)s)",
    )
    group.add_argument("--processes", type=ranges.processes, default=1, metavar="N", help="that send (%(default)s)")


def _requests(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the requests")
    group.add_argument(
        "--scenario", default="ecommerce", metavar="NAME", help="ecommerce, social, video or a .toml (%(default)s)"
    )
    group.add_argument(
        "--workload",
        type=Path,
        metavar="PATH",
        help="the items to request: an index, a model repository, or a file of ids, one a line "
        "(default: the model repository)",
    )
    group.add_argument("--events", type=Path, metavar="FILE", help="a real log to replay: .csv or .jsonl, also .gz")
    group.add_argument("--queries", type=Path, metavar="FILE", help="texts of requests, one a line (default: made up)")
    group.add_argument("--zero-hit", action="store_true", help="no request has a segment that was sent before")
    group.add_argument("--candidates", type=ranges.candidates, metavar="N|catalogue", help="default: the scenario's")
    group.add_argument("--top-k", type=ranges.positive, metavar="K", help="items wanted (default: the scenario's)")
    group.add_argument("--max-history", type=ranges.events, metavar="N", help="events (default: the scenario's)")
    group.add_argument("--seed", type=ranges.seed, default=0, help="equal seeds send equal requests (%(default)s)")


def _report(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the report")
    group.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default: build/loadtest/TIME)")
    group.add_argument(
        "--slo",
        type=parse_slo,
        default=parse_slo(NO_ERRORS),
        metavar="SLO",
        help="as p99<50ms,errors<0.1%%; errors are 0 unless it names them (%(default)s)",
    )
    group.add_argument("--ui", action="store_true", help="Locust's web page, to start and watch; Ctrl-C ends it")
    group.add_argument("--ui-port", type=ranges.port, default=8089, metavar="PORT", help="(%(default)s)")


def _shown(default: object) -> str:
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return text.replace("%", "%%")


def check(args: argparse.Namespace, wanted: Sequence[Protocol]) -> None:
    """Raises ConfigError for options that do not go together."""
    knee = args.mode == "knee"
    if args.rate is None and not knee:
        fewest = max(len(wanted), args.processes)
        if min(args.users) < fewest:
            raise ConfigError(
                f"--users {min(args.users)} for {len(wanted)} protocols and {args.processes} processes: "
                f"give {fewest} at least"
            )
        if args.arrivals != "poisson" or args.peak is not None:
            raise ConfigError(f"--arrivals {args.arrivals} needs --rate: a closed loop sends when it has its answers")
    if args.warmup >= args.duration:
        raise ConfigError(f"--warmup {args.warmup:g} of --duration {args.duration} leaves nothing to count")
    if args.ui and (knee or len(args.users) > 1):
        raise ConfigError("--ui shows one run: give one number of --users or one --rate")
    if knee and args.low >= args.high:
        raise ConfigError(f"--low {args.low:g} is not below --high {args.high:g}")
    if knee and args.peak is not None:
        raise ConfigError(f"knee searches one rate: --arrivals {args.arrivals} has several")


def plan(args: argparse.Namespace, urls: Mapping[Protocol, str], requests: WorkloadOptions) -> Plan:
    """The plan of the first run. Raises ConfigError for arrivals that cannot be."""
    rate = args.low if args.mode == "knee" else args.rate
    return Plan(
        urls=urls,
        workload=requests,
        model=args.model,
        users=args.users[0] if rate is None else None,
        arrivals=None if rate is None else Arrivals(args.arrivals, rate, args.peak),
        duration_s=args.duration,
        warmup_s=args.warmup,
        timeout_s=args.timeout,
        max_in_flight=args.max_in_flight,
        processes=args.processes,
    )


def workload(args: argparse.Namespace) -> WorkloadOptions:
    """What is requested. Raises ConfigError for a scenario that cannot be read, or what does not go together."""
    scenario = load_scenario(args.scenario)
    if args.candidates is not None:
        scenario = replace(scenario, candidates=None if args.candidates == CATALOGUE else args.candidates)
    given = {name: getattr(args, name) for name in ("top_k", "max_history") if getattr(args, name) is not None}
    scenario = replace(scenario, **given)
    if args.model == "cross_encoder" and scenario.candidates is None:
        raise ConfigError("the cross-encoder takes a forward pass a candidate: give a number with --candidates")
    if args.zero_hit and args.events:
        raise ConfigError("--zero-hit makes its requests up: leave out --events")
    return WorkloadOptions(
        items=(args.workload or args.model_repository).resolve(),
        scenario=scenario,
        events=args.events.resolve() if args.events else None,
        queries=args.queries.resolve() if args.queries else None,
        zero_hit=args.zero_hit,
        seed=args.seed,
    )


def named_urls(args: argparse.Namespace) -> dict[Protocol, str]:
    """The endpoints that are given. Raises ConfigError for what is none, and for one protocol of two."""
    urls: tuple[tuple[Protocol, str, str | None], ...] = (
        ("grpc", "--grpc-url", args.grpc_url),
        ("http", "--http-url", args.http_url),
    )
    named = {name: check_url(option, url, allow_remote=args.allow_remote) for name, option, url in urls if url}
    wanted = set(protocols(args.protocol, tuple(named)))
    if named and wanted != set(named):
        raise ConfigError(
            f"--protocol {args.protocol} with the URL of {' and '.join(named)} alone: give those of "
            f"{' and '.join(sorted(wanted))}, or leave out --protocol"
        )
    return named


def protocols(choice: str | None, named: Sequence[Protocol]) -> tuple[Protocol, ...]:
    """The protocols of a run."""
    if choice is None and named:
        return tuple(named)
    return tuple(protocol for protocol in PROTOCOLS if choice in (None, "both", protocol))
