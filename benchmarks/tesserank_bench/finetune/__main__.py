"""``python -m tesserank_bench.finetune``."""

from __future__ import annotations

import argparse
import sys

from tesserank.errors import TesserankError
from tesserank_bench.finetune import command


def main() -> int:
    """Exit status 2 for what a user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m tesserank_bench.finetune",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    try:
        return command.run(parser.parse_args())
    except TesserankError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
