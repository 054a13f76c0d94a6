"""Payloads that try to live longer than their call, or to keep others from living."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time

from tests.support.hostile.attempts import LIBC, Targets, system_call


def left_behind(mark: str) -> None:
    """Become a process that can be found by its mark and that is deaf to whatever can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    os.execvp("sleep", ["sleep", mark])


def stay_as_daemon(targets: Targets) -> str:
    """Forked twice, in a session of its own; it is there before this process goes."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        with contextlib.suppress(OSError):
            os.setsid()
        if os.fork() == 0:
            left_behind(targets["sleep"])
        os._exit(0)
    os.close(writing)
    # The end of the pipe comes when the daemon turns into its program.
    os.read(reading, 1)
    return "left"


def stay_in_a_crowd(targets: Targets) -> str:
    """As many daemons as there may be, then no orderly end."""
    with contextlib.suppress(OSError):
        for _ in range(20):
            if os.fork() == 0:
                with contextlib.suppress(OSError):
                    os.setsid()
                left_behind(targets["sleep"])
    os._exit(0)


def stay_and_never_return(targets: Targets) -> str:
    """Deaf to signals, with a daemon at its side."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        left_behind(targets["sleep"])
    while True:
        time.sleep(60)


def stay_as_a_sibling(targets: Targets) -> str:
    """A child that belongs to one's own parent, who does not expect it."""
    for flags in (0x8000 | 17, 0x8000):  # CLONE_PARENT, with and without a signal at the end
        with contextlib.suppress(OSError):
            if system_call(56, flags, 0, 0, 0, 0) == 0:
                left_behind(targets["sleep"])
    return "left"


def stay_by_reparenting(targets: Targets) -> str:
    """A subreaper of its own, no parent-death signal, and a process group that nobody kills."""
    LIBC.prctl(36, 1, 0, 0, 0)
    if os.fork() == 0:
        LIBC.prctl(1, 0, 0, 0, 0)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        if os.fork() == 0:
            with contextlib.suppress(OSError):
                os.setsid()
            left_behind(targets["sleep"])
        os._exit(0)
    os.wait()
    return "left"


def stay_by_a_thread(targets: Targets) -> str:
    """A thread that starts processes while the call is already ending."""

    def start() -> None:
        while True:
            with contextlib.suppress(OSError):
                subprocess.Popen(["sleep", targets["sleep"]], start_new_session=False)

    threading.Thread(target=start, daemon=True).start()
    time.sleep(0.2)
    return "left"


def hold_the_streams_open(targets: Targets) -> str:
    """A daemon that keeps every pipe of the call, so that whoever waits for their end waits for ever."""
    if os.fork() == 0:
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, True)
        left_behind(targets["sleep"])
    return "left"


def bomb_by_forking(targets: Targets) -> None:
    """Each process forks for ever."""
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def bomb_by_spawning(targets: Targets) -> None:
    """A shell that starts two of itself."""
    subprocess.run(["/bin/sh", "-c", "f(){ f|f & f|f; }; f; sleep 60"], check=False, stderr=subprocess.DEVNULL)


def exhaust_processes(targets: Targets) -> list[str]:
    """As many as there may be; more than the pool's limit is loot."""
    started = 0
    with contextlib.suppress(OSError):
        for _ in range(targets["limits"]["pids"] * 4):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            started += 1
    return [f"{started} processes"] if started > targets["limits"]["pids"] else []


def exhaust_threads(targets: Targets) -> list[str]:
    """Threads are processes to the kernel."""
    started = 0
    threading.stack_size(64 * 1024)
    with contextlib.suppress(RuntimeError):
        for _ in range(targets["limits"]["pids"] * 4):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            started += 1
    return [f"{started} threads"] if started > targets["limits"]["pids"] else []


def churn_through_processes(targets: Targets) -> str:
    """Short lives, so that numbers come round again sooner."""
    for _ in range(300):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return "churned"


def leave_zombies(targets: Targets) -> str:
    """Ended children that nobody collects."""
    for _ in range(10):
        if os.fork() == 0:
            os._exit(0)
    return "left"
