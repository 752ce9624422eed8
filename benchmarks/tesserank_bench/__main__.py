"""``python -m tesserank_bench NAME``: ``tesserank bench NAME`` of a checkout that is not installed."""

from __future__ import annotations

import argparse
import sys

from tesserank.errors import TesserankError
from tesserank_bench import cli


def main() -> int:
    """Exit status 2 for what a user can mend."""
    parser = argparse.ArgumentParser(prog="tesserank_bench", description=cli.__doc__)
    cli.add_arguments(parser)
    try:
        return cli.run(parser.parse_args())
    except TesserankError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
