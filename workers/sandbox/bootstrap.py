"""The first words of the child's interpreter: where the product's own packages and the worker's libraries lie.

It never carries a secret: it is visible in the process list.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable


def interpreter(python_path: Iterable[str], *, module: str, chdir: str | None = None) -> list[str]:
    """The command line of a module's `main`: isolated from environment and user site, with the worker's import path."""
    path = json.dumps(list(python_path))
    script = (
        f"import os, sys; {f'os.chdir({chdir!r}); ' if chdir is not None else ''}"
        f"sys.path[:] = {path}; "
        f"from {module} import main; main()"
    )
    return [sys.executable, "-I", "-B", "-c", script]
