"""The child's side of `queues.tether`: a script that ties itself to its parent and becomes the wanted program.

It never imports anything of ours: it runs alone, in an isolated interpreter, for a few milliseconds.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: int, death_signal: int, command: list[str]) -> None:
    """Becomes `command`; on Linux `death_signal` will come when the parent ends. Exits if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        # A parent that ended before the call above would never be noticed.
        if os.getppid() != parent_pid:
            sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606  (there is no shell, on purpose)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be executed: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
