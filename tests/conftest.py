"""Settings of every test."""

import os
import signal
from pathlib import Path

from hypothesis import settings

# No deadline: the machines that run the tests are shared, and a slow example is not a wrong one.
settings.register_profile("tesserank", deadline=None)
settings.load_profile("tesserank")

# Without a GPU the kernels run in Triton's interpreter (tests/gpu), which must be said before anything imports Triton:
# transformers' models do.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

# A script's background job starts with SIGINT ignored, and so would every child of the tests that press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
