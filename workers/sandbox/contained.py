"""The first process of a call's container: takes the last steps that no engine takes for it, then serves one request.

It never runs anywhere else, and never goes on where a step failed.
"""

from __future__ import annotations

import os
import sys

from workers.sandbox.confinement import ANSWER_FD, REQUEST_FD, Plan, confine
from workers.sandbox.runner import serve

# Engines and images add variables of their own.
_KEPT = {"PATH", "HOME", "TMPDIR"}


def main() -> None:
    """Take the plan from the first argument, put the streams where a call finds them, and serve."""
    plan = Plan.from_json(sys.argv[1])
    for name in os.environ.keys() - _KEPT:
        del os.environ[name]
    # An engine gives three streams: the answer goes where stdout was, and what the tool says on stdout goes to stderr.
    for there, here in ((0, REQUEST_FD), (1, ANSWER_FD), (2, 1)):
        os.dup2(there, here, inheritable=here == 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    confine(plan)
    os._exit(serve(None))
