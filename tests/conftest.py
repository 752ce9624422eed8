"""Settings of every test."""

from hypothesis import settings

# No deadline: the machines that run the tests are shared, and a slow example is not a wrong one.
settings.register_profile("tesserank", deadline=None)
settings.load_profile("tesserank")
