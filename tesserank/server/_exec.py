"""Becomes another program that is sent SIGTERM when its parent dies: ``_exec.py PARENT_PID PROGRAM ARGUMENT...``.

A script of its own because the alternative, code between fork and exec (preexec_fn), may deadlock a threaded parent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the request could take effect
        sys.exit(1)
    os.execv(program[0], program)
