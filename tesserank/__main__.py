"""``python -m tesserank``."""

import sys

from tesserank.cli import main

sys.exit(main())
