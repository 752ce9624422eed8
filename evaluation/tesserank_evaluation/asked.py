"""Contenders that an evaluation has only if asked: training them, or asking them, takes longer than all others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from tesserank.errors import ConfigError
from tesserank.paths import BUILD
from tesserank_evaluation.baselines import SASREC
from tesserank_evaluation.contenders import Baseline, Contender
from tesserank_evaluation.exporting import finetune_command, model_of
from tesserank_evaluation.recommender import Fit
from tesserank_export.catalog import Catalog

CROSS_ENCODER = "cross-encoder"
NAMES = (SASREC, CROSS_ENCODER)
LEAST = {"sasrec_minutes": 1}  # of the arguments
TRAINED = BUILD / "evaluation" / "trained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--with`` and what belongs to each."""
    group = parser.add_argument_group("contenders that are asked for, as they take long")
    group.add_argument("--with", dest="also", default="", metavar="NAMES", help=f"comma-separated: {', '.join(NAMES)}")
    group.add_argument(
        "--trained",
        type=Path,
        default=TRAINED,
        metavar="DIR",
        help="of training so far: goes on from there (%(default)s)",
    )
    group.add_argument(
        "--sasrec-minutes",
        type=int,
        default=25,
        metavar="N",
        help="of training for each protocol, if it has not converged before (%(default)s)",
    )


def contenders(
    args: argparse.Namespace, catalog: Catalog, wanted: Collection[str], say: Callable[[str], None]
) -> dict[str, Contender]:
    """Those of NAMES that are wanted. ``say`` is told how training goes."""
    found: dict[str, Contender] = {}
    if SASREC in wanted:
        found[SASREC] = Baseline(_sasrec(args, say), catalog, args.seed, {"minutes": args.sasrec_minutes})
    if CROSS_ENCODER in wanted:
        found[CROSS_ENCODER] = _cross_encoder(args, catalog)
    return found


def _sasrec(args: argparse.Namespace, say: Callable[[str], None]) -> Fit:
    from tesserank_evaluation.baselines.sasrec.fitting import SasRecOptions, fit_sasrec  # torch loads slowly

    options = SasRecOptions(args.sasrec_minutes * 60.0, args.trained, args.threads, say)
    return partial(fit_sasrec, options=options)


def _cross_encoder(args: argparse.Namespace, catalog: Catalog) -> Contender:
    from tesserank_evaluation.reranking.contender import CANDIDATES, Reranked

    if args.users is None:
        raise ConfigError(
            f"{CROSS_ENCODER} reads {CANDIDATES} pairs for every user, a second or two each: say for how many, as in "
            "--users 300"
        )
    command = partial(finetune_command, args)
    return Reranked(catalog, model_of(args), args.trained, args.threads, args.memory_mib << 20, command)
