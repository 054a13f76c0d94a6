"""Tries a pool out in a process of its own, which first makes its kernel as unwilling as some container's is.

What came of everything is printed as JSON, for the test that started it: `main(way)` names the unwillingness.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from queues.settings import SandboxSettings
from tests.support.refusing import refuse_namespaces, refuse_namespaces_below
from tests.support.sandboxes import mark, marked, opened, run
from tests.support.waiting import comes_true, wait_until
from workers.sandbox.base import Sandbox, SandboxUnavailableError

ORPHANED_HOG = "(python3 -c \"import time; kept = b'x' * (400 << 20); time.sleep(20)\" &) ; sleep 15; echo survived"
MANY_FILES = "cd $TMPDIR; seq 20000 | xargs touch; sleep 1; ls | wc -l"
WAYS: dict[str, Callable[[], None]] = {
    "willing": lambda: None,
    "no namespaces": refuse_namespaces,
    "none below": refuse_namespaces_below,
}


def main() -> None:
    """Try the level in `argv[2]`, at least, on a machine that is unwilling in the way of `argv[1]`."""
    way, least = sys.argv[1:3]
    said: dict[str, object] = {"worker": os.geteuid()}
    with project() as folder:
        tempfile.tempdir = str(folder / "scratches")
        WAYS[way]()
        settings = SandboxSettings(level=least, disk_mb=16)
        try:
            sandbox = opened(settings, SECRET_OF_THE_WORKER="hidden")
        except SandboxUnavailableError as error:
            said["refused"] = str(error)
        else:
            said |= tried(sandbox, folder)
            sandbox.close()
            said["left"] = left_after_the_next_start(settings)
    print(json.dumps(said))


@contextlib.contextmanager
def project() -> Iterator[Path]:
    """A folder beside the project with a file that no tool may read, and with room for scratch."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        canary = Path(name, "canary")
        canary.write_text("canary")
        canary.chmod(0o644)
        Path(name, "scratches").mkdir()
        Path(name, "scratches").chmod(0o1777)
        yield Path(name)


def tried(sandbox: Sandbox, folder: Path) -> dict[str, object]:
    """What honest and hostile calls come to."""

    def shell(command: str, timeout_seconds: float = 20) -> str:
        return run(sandbox, "shell", command=command, timeout_seconds=timeout_seconds).content.strip()

    said: dict[str, object] = {"level": sandbox.level, "gaps": list(sandbox.gaps)}
    first = run(sandbox, "add", a=1, b=2)
    said |= {"add": first.content, "detail": dict(first.detail)}
    # Empty, unless the project itself lies below this machine's /tmp.
    said["carried"] = shell("ls -A $TMPDIR")
    said["written"] = shell("echo kept > $TMPDIR/file; mkdir -p $TMPDIR/a/b; chmod 000 $TMPDIR/a; cat $TMPDIR/file")
    said["written_before"] = shell("ls -A $TMPDIR")
    said["deep"] = shell(
        "cd $TMPDIR; python3 -c \"import os\nfor _ in range(1500): os.mkdir('d' * 20); os.chdir('d' * 20)\"; echo deep"
    )
    said["deep_before"] = shell("ls -A $TMPDIR")
    said["canary"] = run(sandbox, "read_file", path=str(folder / "canary")).content
    said["project"] = shell("head -c 3 README.md; touch made 2>&1; cat pyproject.toml | head -1; ls .git .errandry")
    said["environment"] = run(sandbox, "environment").content
    with socket.create_server(("127.0.0.1", 0)) as server:
        said["network"] = run(sandbox, "connect", port=server.getsockname()[1]).content
    said["supervisor"] = shell(f"kill -0 {os.getpid()} && echo reached")
    said["namespaces"] = shell("unshare -U true && echo made; unshare -r true && echo made")
    said["after_killing_all"] = [shell("kill -9 -1; echo alive"), shell("kill -9 $PPID; sleep 1"), shell("echo next")]
    said["hog"] = run(sandbox, "hog", megabytes=200, processes=3).content
    said["orphaned_hog"] = shell(ORPHANED_HOG)
    said["bomb"] = run(sandbox, "fork_bomb", timeout_seconds=1.5).content
    said["files"] = shell(MANY_FILES, 30)
    said["fill"] = shell("cd $TMPDIR; for i in 1 2 3 4 5 6 7 8; do head -c 8000000 /dev/zero > f$i; done; sleep 1; ls")
    said["remains"] = remains(sandbox)
    said["at_once"] = at_once(sandbox)
    said["last"] = run(sandbox, "add", a=20, b=22).content
    return said


def scratches() -> list[str]:
    """The folders of zygotes on this machine's disk."""
    return sorted(str(path) for path in Path(tempfile.gettempdir()).glob("errandry-scratch-*"))


def left_after_the_next_start(settings: SandboxSettings) -> list[str]:
    """What was left when a slow disk kept a zygote from removing all in time; the next one goes on with it."""
    before = scratches()
    if before:
        sandbox = opened(settings)
        wait_until(lambda: not set(before) & set(scratches()), "leftovers are removed", timeout_seconds=30)
        sandbox.close()
    return scratches()


def remains(sandbox: Sandbox) -> list[int]:
    """What is left of a daemon after its call, and of one whose call was cancelled; bounded, for ends take a moment."""
    sign = mark()
    run(sandbox, "stay", mark=sign)
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        command = f"(sleep {sign} &) ; sleep {sign}"
        waiting = threads.submit(run, sandbox, "shell", command=command, cancelled=cancelled)
        wait_until(lambda: len(marked(sign)) > 1 or waiting.done(), "both programs run", timeout_seconds=30)
        cancelled.set()
        waiting.result(60)
    comes_true(lambda: not marked(sign), timeout_seconds=20)
    return marked(sign)


def at_once(sandbox: Sandbox) -> list[str]:
    """Calls side by side, each of which sees its own files only."""
    command = "echo $0 > $TMPDIR/own; sleep 0.3; cat $TMPDIR/own; ls $TMPDIR | wc -l"
    with ThreadPoolExecutor(4) as threads:
        words = [command.replace("$0", str(number)) for number in range(4)]
        return list(threads.map(lambda words: run(sandbox, "shell", command=words).content, words))


if __name__ == "__main__":
    main()
