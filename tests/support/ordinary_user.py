"""Runs a script as an ordinary user, also where root's closed home holds the interpreter.

It changes nothing outside: folders are opened in a mount namespace of the script's own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.sandboxes import ROOT

UID = 12345
# $1: the closed folder, $2: the interpreter below it, the rest: the command.
_OPEN_THE_DOOR = """
set -e
door=$1 kept=$2; shift 2
if [ -n "$door" ]; then
  stage=$(mktemp -d); trap 'rmdir "$stage"' EXIT
  mount --bind "$kept" "$stage"; mount -t tmpfs -o mode=755 tmpfs "$door"
  mkdir -p "$kept"; mount --bind "$stage" "$kept"; umount "$stage"
fi
cd /
eval "$BEFORE"
setpriv --reuid "$NEW_UID" --regid "$NEW_UID" --clear-groups env -u NEW_UID -u BEFORE "$@"
"""


def can_become_one() -> bool:
    """Whether this process may change its user and has the programs for it."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "setpriv", "mount"))


def run_as_ordinary_user(
    script: str, *arguments: str, uid: int = UID, before: str = "", timeout_seconds: float = 100
) -> Any:
    """Run the Python script with the project importable; returns what it printed, which must be JSON.

    With `uid` 0 it runs as root, for whose calls' users the interpreter is open all the same. `before` are words for
    the shell, said by root in the mount namespace that the script will find.
    """
    prefix = Path(sys.base_prefix)
    closed = [folder for folder in (*reversed(prefix.parents), prefix) if not folder.stat().st_mode & 0o001]
    door = str(closed[0]) if closed else ""
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            _OPEN_THE_DOOR,
            "sh",
            door,
            str(prefix),
            sys.executable,
            "-c",
            script,
            *arguments,
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NEW_UID": str(uid), "BEFORE": before},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
