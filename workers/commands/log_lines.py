"""How the log of a process looks on its terminal. Imports nothing heavy, since every process has a log."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr(loglevel: str) -> None:
    """One readable line per record, on stderr, for every logger of this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%H:%M:%S"))
    logging.basicConfig(level=loglevel.upper(), handlers=[handler], force=True)
    if loglevel == "info":
        # One line for each request to the model says nothing that the runs do not say.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
