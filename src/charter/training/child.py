"""Run a module so that it ends when the process that started it ends: ``python -m charter.training.child MODULE ...``.

The launcher's own clean-up cannot run when the launcher is killed with SIGKILL; the kernel's death signal can. It is
set here, by the child itself, because code between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import runpy
import signal
import sys

from charter.training.process import PARENT

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; a no-op outside Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Tie this process to its parent, then become the module named on the command line."""
    die_with_parent()
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit("the process that started this training is gone")
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
