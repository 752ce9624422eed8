"""What is timed, each a class that a worker process opens; the benchmark itself imports none of them.

A library that is missing, breaks or brings threads of its own so affects nobody else.
"""
