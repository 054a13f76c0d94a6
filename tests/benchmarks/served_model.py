"""The scripted model server as a process of its own, so that what it costs is not counted as ours.

Never thinks: one rule asks for one call, and its result is told.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROMPT = "What files are in /srv/reports?"
_SCRIPT = """
[[rules]]
match = '^What files are in (?P<folder>[^ ?]+)'
calls = [{ tool = "list_files", arguments = { folder = "{folder}" } }]

[[rules]]
match = '^What files are in'
turn = 1
text = "I see these files: {results}"
"""


@contextmanager
def served_model(folder: Path) -> Iterator[str]:
    """Yield the base URL of a server that runs for as long as the block."""
    script = folder / "script.toml"
    script.write_text(_SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "workers.model_server", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().rsplit(maxsplit=1)[-1]
        finally:
            process.terminate()
