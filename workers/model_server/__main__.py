"""The model server as a process of its own: `python -m workers.model_server --script FILE`.

Prints one line with its address when it serves. Never outlives the process that started it.
"""

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from workers.model_server.errors import ModelServerError

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """End this process when its parent `parent` ends, however that happens; at once if it has already ended.

    On Linux the kernel sees to it, and what counts there is the thread that started this process: start it from one
    that stays.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), name="watch-parent", daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _announce(url: str) -> None:
    sys.stdout.write(f"Model server ready at {url}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Serve as the arguments say, until a signal; 1 with a sentence on stderr if that is impossible."""
    parser = argparse.ArgumentParser(prog="python -m workers.model_server", description=__doc__)
    parser.add_argument("--mode", choices=["scripted", "local"], default="scripted", help="who answers")
    parser.add_argument("--script", type=Path, help="the rules of the scripted model, a TOML file")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    options = parser.parse_args(arguments)
    # Half a second of imports in which the parent could die unnoticed, had they come before `die_with_parent`.
    from workers.model_server.server import run_model_server  # noqa: PLC0415

    try:
        run_model_server(options.script, mode=options.mode, host=options.host, port=options.port, on_ready=_announce)
    except ModelServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    die_with_parent(os.getppid())
    sys.exit(main())
