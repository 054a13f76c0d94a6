"""Containers that outlive nobody: their worker's death, a killed watchman, a client that is gone."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.backends import open_backend
from tests.support.container_image import NAME, engine_with_image
from tests.support.sandboxes import ROOT, mark, marked, run
from tests.support.waiting import wait_until
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.engines import Engine
from workers.sandbox.watching import descendants

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the engine's flags are Linux's"),
    pytest.mark.timeout(240),
    pytest.mark.slow,
]

# Without spares: a container that is only half made when its client dies is the engine's own business.
_WORKER = (
    "from tests.support.backends import open_backend\nfrom tests.support.sandboxes import run\nimport sys\n"
    "run(open_backend('container', wall_seconds=100, spares=0), 'wait', seconds=90, mark=sys.argv[1])"
)


@pytest.fixture
def engine() -> Engine:
    return engine_with_image()


def _containers(engine: Engine, pid: int) -> list[str]:
    names = engine.ask("ps", "--all", "--filter", "label=errandry.sandbox", "--format", "{{.Names}}").stdout.split()
    return [name for name in names if f"-{pid}-" in name]


def _folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("errandry-engine-*"))


def test_kill_9_of_the_worker_removes_its_containers(engine: Engine) -> None:
    sleep, before = mark(), _folders()
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, sleep], cwd=ROOT)
    try:
        wait_until(lambda: marked(sleep), "the tool runs", timeout_seconds=60)
        assert _containers(engine, worker.pid) and _folders() - before
    finally:
        worker.kill()
        worker.wait()

    wait_until(lambda: not marked(sleep), "the tool is gone", timeout_seconds=60)
    wait_until(lambda: not _containers(engine, worker.pid), "its containers are gone", timeout_seconds=60)
    wait_until(lambda: not _folders() - before, "its folder is gone", timeout_seconds=60)


def test_what_a_worker_and_its_watchman_left_is_removed_by_the_next(engine: Engine) -> None:
    sleep = mark()
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, sleep], cwd=ROOT)
    try:
        wait_until(lambda: marked(sleep), "the tool runs", timeout_seconds=60)
        for pid in descendants(worker.pid):
            os.kill(pid, signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()

    with closing(open_backend("container")):
        wait_until(lambda: not _containers(engine, worker.pid), "its containers are gone", timeout_seconds=60)
    assert not marked(sleep)


def test_closing_leaves_no_container_and_no_process(engine: Engine) -> None:
    before = set(descendants(os.getpid()))
    with closing(open_backend("container")) as sandbox:
        assert run(sandbox, "add", a=1, b=2).content == "3"
        assert _containers(engine, os.getpid())

    assert not _containers(engine, os.getpid())
    assert set(descendants(os.getpid())) <= before


def test_an_image_that_is_not_there_is_named_with_the_engines_words(engine: Engine) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"did not start a container.*image localhost/nowhere"):
        open_backend("container", image="localhost/nowhere:1")
    assert NAME != "localhost/nowhere:1"
