"""Payloads that go for other processes, or that try to live longer than their call."""

# ruff: noqa: PTH115 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

from tests.support.hostile.attempts import LIBC, Loot, Targets, for_seconds, numbered_processes, others, system_call


def kill_everything(targets: Targets) -> str:
    """Every process that may be signalled."""
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
    return "survived"


def kill_the_parent(targets: Targets) -> str:
    """Whoever started this process, again and again."""
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.kill(os.getppid() or 1, number)
    return "survived"


def stop_everything(targets: Targets) -> str:
    """Freeze instead of kill: nobody hears that anything ended."""
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGSTOP)
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGSTOP)
    return "survived"


def flood_with_signals(targets: Targets) -> str:
    """Signals to the parent and to everybody, as fast as they go."""
    going = for_seconds(0.3)
    while going():
        for pid in (os.getppid() or 1, *numbered_processes()):
            if pid != os.getpid():
                for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGCONT, signal.SIGPIPE):
                    with contextlib.suppress(OSError):
                        os.kill(pid, number)
    return "done"


def signal_the_worker(targets: Targets) -> list[str]:
    """The worker and its launcher by their numbers; signal 0 only asks."""
    loot = Loot()
    for pid in others(targets):
        loot.doing(f"signal {pid}", lambda pid=pid: os.kill(pid, 0))
        loot.doing(
            f"queue {pid}", lambda pid=pid: system_call(129, pid, 0, 0) if targets["bare"] else os.killpg(pid, 0)
        )
    return loot


def learn_about_the_worker(targets: Targets) -> list[str]:
    """That it is there, and how it is limited; whoever may read limits of a process may lower them as well."""
    loot = Loot()
    for pid in others(targets):
        loot.doing(f"handle of {pid}", lambda pid=pid: os.close(os.pidfd_open(pid)))
        loot.doing(f"session of {pid}", lambda pid=pid: os.getsid(pid))
    return loot


def limit_the_worker(targets: Targets) -> list[str]:
    """Its limits, to what they already are; whoever may do that may set its CPU time to nothing."""
    loot = Loot()
    for pid in others(targets):
        loot.doing(
            f"limits of {pid}",
            lambda pid=pid: resource.prlimit(pid, resource.RLIMIT_CPU, resource.prlimit(pid, resource.RLIMIT_CPU)),
        )
    return loot


def trace_the_worker(targets: Targets) -> list[str]:
    """Read another process's memory, or take its descriptors."""
    loot = Loot()
    buffer = ctypes.create_string_buffer(16)

    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    here, there = Piece(ctypes.addressof(buffer), 16), Piece(targets["address"], 16)
    for pid in [*others(targets), 1, os.getppid()]:
        if pid in (0, os.getpid()):
            continue
        loot.doing(
            f"read {pid}", lambda pid=pid: system_call(310, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        )

        def taken(pid: int = pid) -> None:
            pidfd = os.pidfd_open(pid)
            try:
                for fd in range(10):
                    with contextlib.suppress(OSError):
                        os.close(system_call(438, pidfd, fd, 0))
                        loot.append(f"descriptor {fd} of {pid}")
            finally:
                os.close(pidfd)

        with contextlib.suppress(OSError):
            taken()
        if pid not in targets["pids"]:
            loot.doing(f"attach {pid}", lambda pid=pid: system_call(101, 16, pid, 0, 0))
    return loot


def trace_a_child(targets: Targets) -> list[str]:
    """A tracer may rewrite what a filter has already let through."""
    loot = Loot()
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    loot.doing("attach", lambda: system_call(101, 16, pid, 0, 0))
    loot.doing("seize", lambda: system_call(101, 0x4206, pid, 0, 0))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return loot


def scan_inherited_descriptors(targets: Targets) -> list[str]:
    """Every number up to 1024 that is open and is not the four pipes or /dev/null."""
    loot = Loot()
    for fd in range(1025):
        with contextlib.suppress(OSError):
            place = os.readlink(f"/proc/self/fd/{fd}")
            if not place.startswith(("pipe:", "/dev/null", f"/proc/{os.getpid()}/fd", "anon_inode:[pidfd]")) or fd > 8:
                loot.append(f"{fd} is {place}")
    return loot


def see_other_processes(targets: Targets) -> list[str]:
    """Numbers in /proc that do not belong to this call."""
    own = {os.getpid(), os.getppid()}
    # The reaper of the call's own namespace is no stranger.
    return [f"{pid}: {_words(pid)}" for pid in numbered_processes() if pid not in own and pid != 1]


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:60]
    except OSError:
        return "?"


def jump_the_queue(targets: Targets) -> list[str]:
    """More than one's share of the processor."""
    loot = Loot()
    loot.doing("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
    loot.doing("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
    loot.doing("round robin", lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)))
    loot.doing("disk first", lambda: system_call(251, 1, 0, (1 << 13) | 0))
    for pid in others(targets):
        loot.doing(
            f"slow down {pid}",
            lambda pid=pid: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)),
        )
    return loot


def dodge_the_memory_killer(targets: Targets) -> list[str]:
    """Let another process be taken when memory runs short."""
    loot = Loot()
    for value in ("-1000", "-17", "-1"):
        loot.doing(value, lambda value=value: Path("/proc/self/oom_score_adj").write_text(value))
    return loot


def raise_the_limits(targets: Targets) -> list[str]:
    """One's own hard limits, and other processes'."""
    loot = Loot()
    for name in (
        "RLIMIT_AS",
        "RLIMIT_NPROC",
        "RLIMIT_FSIZE",
        "RLIMIT_CPU",
        "RLIMIT_NOFILE",
        "RLIMIT_CORE",
        "RLIMIT_MEMLOCK",
    ):
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        if hard == resource.RLIM_INFINITY:
            loot.append(f"{name} is unlimited")
            continue
        with contextlib.suppress(ValueError):
            loot.doing(name, lambda which=which, hard=hard: resource.setrlimit(which, (hard + 1, hard + 1)))
    return loot


def rename_itself(targets: Targets) -> str:
    """Look like something else in a list of processes, parentheses and line breaks included."""
    LIBC.prctl(15, b") R 1 1 (\nx", 0, 0, 0)
    end = for_seconds(0.2)
    while end():
        time.sleep(0.05)
    return sys.executable[:1]


def lock_memory(targets: Targets) -> list[str]:
    """Memory that can never be taken back."""
    loot = Loot()
    loot.doing("mlockall", lambda: system_call(151, 3))
    with contextlib.suppress(OSError):
        system_call(152)
    return loot
