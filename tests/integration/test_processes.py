"""Supervision with real processes: readiness, restarts, draining, and no orphan however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.support.waiting import is_running, wait_until
from workers.child import Child, ChildCommand
from workers.processes import ProcessError, ProcessGroup, ensure_port_free, lines_to

READY = re.compile(r"^ready$")
SERVES = "print('ready', flush=True); import signal; signal.pause()"
# Drains: on SIGTERM it finishes what it holds and says so. A handler could be called too late: a signal that comes just
# before `pause` ends no pause.
DRAINS = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print('ready', flush=True)
signal.sigwait({signal.SIGTERM})
print('drained', flush=True)
"""
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])
print('inner', inner.pid, flush=True)
print('ready', flush=True)
while True:
    signal.pause()
"""
OWNER = """
import os, re, sys
from workers.child import ChildCommand
from workers.processes import ProcessGroup
script = "import os, signal; print('ready', flush=True); signal.pause()"
def child(name):
    return ChildCommand(name, [sys.executable, '-c', script], dict(os.environ), ready_line=re.compile('ready'))
with ProcessGroup(on_line=lambda name, line: None) as group:
    group.start(child('one'), child('two'))
    print(*group.pids().values(), flush=True)
    group.supervise()
"""


class Heard:
    """Collects the lines of all children."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for speaker, line in self.lines if speaker == name]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def python(
    name: str,
    script: str,
    *arguments: str,
    ready_line: re.Pattern[str] | None = READY,
    is_ready: Callable[[], bool] | None = None,
    ready_timeout_seconds: float = 20.0,
    env: dict[str, str] | None = None,
) -> ChildCommand:
    return ChildCommand(
        name,
        [sys.executable, "-c", script, *arguments],
        env if env is not None else dict(os.environ),
        ready_line=ready_line,
        is_ready=is_ready,
        ready_timeout_seconds=ready_timeout_seconds,
    )


@contextlib.contextmanager
def supervised(group: ProcessGroup) -> Iterator[list[ProcessError]]:
    """Runs the supervision beside the test; the list holds what it gave up with."""
    failures: list[ProcessError] = []

    def run() -> None:
        try:
            group.supervise()
        except ProcessError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        group.request_stop()
        thread.join(20)
        assert not thread.is_alive()


def test_start_returns_when_all_are_ready_and_hands_on_their_words(heard: Heard) -> None:
    script = "import os, sys; print('to stdout'); print('to stderr', file=sys.stderr); print(os.environ['WORD']);"
    with ProcessGroup(on_line=heard) as group:
        group.start(
            python("one", script + SERVES, env={"WORD": "first"}),
            python("two", script + SERVES, env={"WORD": "second"}),
        )
        assert sorted(heard.of("one")) == ["first", "ready", "to stderr", "to stdout"]
        assert "second" in heard.of("two")
        pids = group.pids()
        assert set(pids) == {"one", "two"}
        assert all(os.getsid(pid) == pid for pid in pids.values()), "Ctrl-C in the terminal reaches the parent only"
    assert not any(is_running(pid) for pid in pids.values())
    assert group.pids() == {}


def test_readiness_by_asking(heard: Heard, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
    with ProcessGroup(on_line=heard) as group:
        group.start(python("one", script, str(mark), ready_line=None, is_ready=mark.exists))
        assert mark.exists()
        with pytest.raises(ProcessError, match=r"process late was not ready within 0\.2 s\. It said nothing"):
            group.start(python("late", script, str(mark), ready_timeout_seconds=0.2))


def test_who_is_ready_has_been_heard() -> None:
    """Else whoever starts it would look in vain for what it said."""
    told: list[tuple[str, bool]] = []
    ended = threading.Event()
    made: SimpleQueue[Child] = SimpleQueue()

    def take(_: str, line: str) -> None:
        child = made.get(timeout=20)
        told.append((line, child.is_ready))
        made.put(child)

    child = Child(python("one", "print('hello'); print('ready')"), on_line=take, on_end=lambda _: ended.set())
    made.put(child)
    assert ended.wait(20)
    assert told == [("hello", False), ("ready", False)] and child.is_ready


def test_who_was_ready_and_ended_was_started(heard: Heard) -> None:
    asked: list[None] = []

    def is_ready() -> bool:
        """Not yet; and by the time this is known, the child has become ready and ended."""
        asked.append(None)
        if len(asked) == 1:
            wait_until(lambda: not group.pids(), "the child has ended")
        return len(asked) > 1

    with ProcessGroup(on_line=heard) as group:
        group.start(python("one", "", ready_line=None, is_ready=is_ready))
    assert len(asked) == 2


def test_an_early_end_is_told_with_its_last_words(heard: Heard) -> None:
    with ProcessGroup(on_line=heard) as group:
        with pytest.raises(ProcessError) as caught:
            group.start(python("one", "raise SystemExit('no key in the environment')"))
        assert "The process one ended with status 1 before it was ready" in str(caught.value)
        assert "no key in the environment" in str(caught.value)
        with pytest.raises(ProcessError, match="was killed by SIGKILL before it was ready"):
            group.start(python("two", "import os; os.kill(os.getpid(), 9)"))
        with pytest.raises(ProcessError, match=r"/nowhere/program cannot be executed: No such file"):
            group.start(ChildCommand("three", ["/nowhere/program"], {}, ready_line=READY))


@pytest.mark.fault
def test_a_crashed_child_is_started_again(heard: Heard) -> None:
    with ProcessGroup(on_line=heard, first_restart_seconds=0.01) as group:
        group.start(python("one", SERVES), python("two", SERVES))
        with supervised(group) as failures:
            first = group.pids()
            os.kill(first["one"], signal.SIGKILL)
            wait_until(lambda: heard.of("one").count("ready") == 2, "the child is ready again")
            # Its output is read before the group has noted it.
            wait_until(lambda: "one" in group.pids(), "the group knows the new child")
            second = group.pids()["one"]
            assert second != first["one"]
            assert group.pids()["two"] == first["two"]
            assert "was killed by SIGKILL; starting it again in 0.01 s" in heard.of("one")
        assert failures == []
    assert not is_running(second)


@pytest.mark.fault
def test_a_child_that_keeps_crashing_is_given_up(heard: Heard) -> None:
    with ProcessGroup(on_line=heard, first_restart_seconds=0.01, crashes_allowed=3) as group:
        group.start(python("one", "print('ready'); raise SystemExit('broken beyond repair')"))
        with supervised(group) as failures:
            wait_until(lambda: failures, "the supervision has given up")
        assert "crashed 4 times in a minute; the last time it ended with status 1" in str(failures[0])
        assert "broken beyond repair" in str(failures[0])
        waits = re.findall(r"again in ([0-9.]+) s", "\n".join(heard.of("one")))
        assert waits == ["0.01", "0.02", "0.04"]


def test_later_stages_drain_first_and_a_stage_drains_together(heard: Heard) -> None:
    with ProcessGroup(on_line=heard) as group:
        group.start(python("model", DRAINS))
        group.start(python("agent", DRAINS), python("tool", DRAINS))
    drained = [name for name, line in heard.lines if line == "drained"]
    assert set(drained[:2]) == {"agent", "tool"}
    assert drained[2:] == ["model"]
    group.stop()


@pytest.mark.fault
def test_what_does_not_drain_is_killed_with_its_whole_group(heard: Heard) -> None:
    with ProcessGroup(on_line=heard, drain_seconds=0.2) as group:
        group.start(python("one", STUBBORN))
        inner = int(heard.of("one")[0].split()[1])
        outer = group.pids()["one"]
        assert is_running(inner)
    assert not is_running(outer)
    wait_until(lambda: not is_running(inner), "the inner process is gone too")
    assert "did not leave within 0.2 s and is killed" in heard.of("one")


@pytest.mark.fault
def test_a_crash_leaves_nothing_of_the_group_behind(heard: Heard) -> None:
    with ProcessGroup(on_line=heard) as group:
        group.start(python("one", STUBBORN))
        inner = int(heard.of("one")[0].split()[1])
        os.kill(group.pids()["one"], signal.SIGKILL)
        wait_until(lambda: not is_running(inner), "what the crashed child had started is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.fault
def test_no_orphan_remains_of_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_running(pid) for pid in pids)
        owner.kill()
    wait_until(lambda: not any(is_running(pid) for pid in pids), "the children have followed their parent")


@pytest.mark.fault
def test_children_outlive_the_thread_that_asked_for_them(heard: Heard) -> None:
    with ProcessGroup(on_line=heard) as group:
        thread = threading.Thread(target=group.start, args=(python("one", SERVES),))
        thread.start()
        thread.join(20)
        with subprocess.Popen([sys.executable, "-c", ""]) as bystander:
            bystander.wait(20)  # by then a death signal for the thread's end would have come
        assert is_running(group.pids()["one"])


def test_a_closed_sink_stops_no_child() -> None:
    sink = StringIO()
    with ProcessGroup(on_line=lines_to(sink, width=5)) as group:
        group.start(python("one", SERVES))
        assert sink.getvalue() == "one   | ready\n"
        sink.close()
        loud = "print('x' * 200_000 + 'y'); print('ready', flush=True); " + SERVES
        group.start(python("two", loud))


def test_a_stopped_group_starts_nothing_more(heard: Heard) -> None:
    group = ProcessGroup(on_line=heard, first_restart_seconds=0.01)
    group.start(python("one", SERVES))
    group.stop()
    group.supervise()
    assert group.pids() == {}
    with pytest.raises(ProcessError, match="being stopped"):
        group.start(python("two", SERVES))
    assert heard.of("two") == []


def test_a_taken_port_names_itself_and_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProcessError) as caught:
            ensure_port_free("127.0.0.1", port, what="the gateway", option="--gateway-port")
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1, for the gateway, is taken by another program; choose another with --gateway-port."
    )
    ensure_port_free("127.0.0.1", port, what="the gateway", option="--gateway-port")
    with pytest.raises(ProcessError, match="cannot be used"):
        ensure_port_free("203.0.113.1", port, what="the gateway", option="--gateway-port")
