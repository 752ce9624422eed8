"""Settings of every test."""

import signal

from hypothesis import settings

# No deadline: the machines that run the tests are shared, and a slow example is not a wrong one.
settings.register_profile("tesserank", deadline=None)
settings.load_profile("tesserank")

# A script's background job starts with SIGINT ignored, and so would every child of the tests that press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
