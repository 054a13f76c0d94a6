"""Sets this project up and runs its demo or its tests: `python3 deploy/bootstrap.py demo` (or `test`).

Finds an interpreter that is new enough and hands over to `installation.py`; never installs anything itself. It is
written so that an old Python can still read it and say what is missing.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
OTHER_NAMES = ("python3.13", "python3.12", "python3.11", "python3.14")
CHECK = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"


def find_other_python() -> "str | None":
    """Path of an interpreter on PATH that is new enough and can make virtual environments, or None."""
    for name in OTHER_NAMES:
        path = shutil.which(name)
        if path is None:
            continue
        try:
            # Asked, not believed: version switchers leave names on PATH that start nothing.
            failed = subprocess.call(
                [path, "-c", CHECK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if not failed:
            return path
    return None


def what_is_missing() -> str:
    """Say in one sentence why this interpreter will not do, or give an empty text if it will."""
    found = "{}.{}.{}".format(*sys.version_info[:3])
    if sys.version_info < OLDEST:
        return "Python 3.11 or newer is needed; found {}.".format(found)
    if os.name != "posix":
        return "Linux or macOS is needed."
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return (
            "This Python {} cannot make virtual environments; on Debian or Ubuntu install the package "
            "python{}.{}-venv, then start again.".format(found, *sys.version_info[:2])
        )
    return ""


def main() -> int:
    """Run the command in this interpreter, or replace this process by a better one; gives the exit code."""
    missing = what_is_missing()
    if missing:
        other = find_other_python()
        if other is None:
            sys.stderr.write(missing + "\n")
            return 1
        os.execv(other, [other, os.path.abspath(__file__)] + sys.argv[1:])
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from deploy.installation import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
