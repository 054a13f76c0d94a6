"""Payloads that go for the kernel: system calls that no tool needs, in a form that would work if they were allowed."""

# ruff: noqa: PTH115 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import sys

from tests.support.hostile.attempts import Loot, Targets, system_call

# "No space" is how the kernel says that there may be no further namespace.
_REFUSED = {errno.EPERM, errno.ENOSYS, errno.EACCES, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOSPC}


def call_by_number(targets: Targets, number: int, arguments: list[int]) -> list[str]:
    """One bare call in a process of its own, because some of them would change this one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            system_call(number, *arguments)
            os.write(writing, b"done")
        except OSError as error:
            os.write(writing, b"" if error.errno in _REFUSED else os.strerror(error.errno or 0).encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 100).decode()
    _, status = os.waitpid(pid, 0)
    # Killed for asking is refused, too.
    return [] if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS else [said] if said else []


def make_namespaces(targets: Targets) -> list[str]:
    """A user namespace gives every capability inside it, and with them most of the kernel."""
    loot = Loot()
    for name, flag in (
        ("user", 0x10000000),
        ("mount", 0x20000),
        ("pid", 0x20000000),
        ("net", 0x40000000),
        ("ipc", 0x8000000),
        ("uts", 0x4000000),
        ("cgroup", 0x2000000),
        ("time", 0x80),
        ("user and mount", 0x10020000),
    ):
        loot += [f"unshare {name}: {said}" for said in call_by_number(targets, 272, [flag])]
    return loot


def clone_into_namespaces(targets: Targets) -> list[str]:
    """The same by the call that makes processes, in both of its forms."""
    loot = Loot()
    for name, flag in (("user", 0x10000000), ("user and net", 0x50000000), ("pid", 0x20000000)):
        loot += [f"clone {name}: {said}" for said in call_by_number(targets, 56, [flag | 17, 0, 0, 0, 0])]

        class Wanted(ctypes.Structure):
            _fields_ = (("flags", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 10))

        wanted = Wanted(flags=flag)
        with contextlib.suppress(OSError):
            if system_call(435, ctypes.byref(wanted), 88) == 0:
                os._exit(0)
            loot.append(f"clone3 {name}")
    return loot


def enter_other_namespaces(targets: Targets) -> list[str]:
    """Those of whoever can be seen."""
    loot = Loot()
    for pid in {1, os.getppid(), *targets["pids"]}:
        for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
            with contextlib.suppress(OSError):
                fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
                if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                    loot.doing(f"{name} of {pid}", lambda fd=fd: system_call(308, fd, 0))
    return loot


def use_the_new_mount_calls(targets: Targets) -> list[str]:
    """Younger than many a filter."""
    loot = Loot()
    loot.doing("fsopen", lambda: os.close(system_call(430, b"tmpfs", 0)))
    loot.doing("open_tree", lambda: os.close(system_call(428, -100, b"/tmp", 1)))
    loot.doing("fspick", lambda: os.close(system_call(433, -100, b"/tmp", 0)))
    loot.doing("mount_setattr", lambda: system_call(442, -100, b"/tmp", 0, bytes(32), 32))
    loot.doing("move_mount", lambda: system_call(429, -100, b"/tmp", -100, b"/tmp", 0))
    return loot


def start_io_uring(targets: Targets) -> list[str]:
    """System calls by another door, past every filter."""
    loot = Loot()
    parameters = ctypes.create_string_buffer(120)
    loot.doing("io_uring", lambda: os.close(system_call(425, 4, parameters)))
    return loot


def load_a_bpf_program(targets: Targets) -> list[str]:
    """Code inside the kernel."""
    loot = Loot()
    attributes = ctypes.create_string_buffer(
        (2).to_bytes(4, "little") + (4).to_bytes(4, "little") * 2 + (1).to_bytes(4, "little"), 72
    )
    loot.doing("map", lambda: os.close(system_call(321, 0, attributes, 72)))
    return loot


def handle_page_faults(targets: Targets) -> list[str]:
    """Hold the kernel in the middle of a copy."""
    loot = Loot()
    for flags in (0, 1, os.O_CLOEXEC | 1):
        loot.doing(f"userfaultfd {flags}", lambda flags=flags: os.close(system_call(323, flags)))
    return loot


def count_events(targets: Targets) -> list[str]:
    """Measure other processes by the processor's counters."""
    loot = Loot()
    attributes = ctypes.create_string_buffer((1).to_bytes(4, "little") + (112).to_bytes(4, "little"), 112)
    loot.doing("own", lambda: os.close(system_call(298, attributes, 0, -1, -1, 0)))
    loot.doing("everybody's", lambda: os.close(system_call(298, attributes, -1, 0, -1, 0)))
    return loot


def use_keyrings(targets: Targets) -> list[str]:
    """A place to leave things for the next call, outside every namespace."""
    loot = Loot()
    loot.doing("add", lambda: system_call(248, b"user", targets["plant"].encode(), b"x", 1, -3))
    loot.doing("request", lambda: system_call(249, b"user", targets["plant"].encode(), b"", -3))
    loot.doing("session", lambda: system_call(250, 1, b"x"))
    loot.doing("user ring", lambda: system_call(250, 0, -4, 1))
    return loot


def use_the_second_set_of_numbers(targets: Targets) -> list[str]:
    """The same calls by numbers that a careless list does not hold."""
    loot = Loot()
    for name, number in (("getpid", 39), ("unshare", 272), ("ptrace", 101), ("bpf", 321), ("socket", 41)):
        loot += [f"{name}: {said}" for said in call_by_number(targets, 0x40000000 | number, [0, 0, 0])]
    return loot


def use_the_32_bit_door(targets: Targets) -> list[str]:
    """The old interrupt with the old numbers: 20 is getpid there and writev here."""
    if sys.maxsize < 2**32:
        return []
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        # mov eax, 20; int 0x80; ret
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        place = ctypes.addressof(ctypes.c_char.from_buffer(page))
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(place)()
        os.write(writing, b"it answered" if answer == os.getpid() else b"")
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 100).decode()
    os.waitpid(pid, 0)
    return [said] if said else []


# A call's name, its number on x86-64, and arguments with which it would do something if it were allowed.
CALLS: dict[str, tuple[int, list[int]]] = {
    "personality_read_implies_exec": (135, [0x0400000]),
    "personality_no_randomize": (135, [0x0040000]),
    "kexec_load": (246, [0, 0, 0, 0]),
    "kexec_file_load": (320, [-1, -1, 0, 0, 0]),
    "init_module": (175, [0, 0, 0]),
    "finit_module": (313, [-1, 0, 0]),
    "delete_module": (176, [0, 0]),
    "quotactl": (179, [0x80000700, 0, 0, 0]),
    "quotactl_fd": (443, [0, 0x80000700, 0, 0]),
    "swapoff": (168, [0]),
    "reboot": (169, [0xFEE1DEAD, 672274793, 0]),
    "syslog_clear": (103, [5, 0, 0]),
    "syslog_console_off": (103, [6, 0, 0]),
    "iopl": (172, [3]),
    "ioperm": (173, [0, 1, 1]),
    "vhangup": (153, []),
    "acct": (163, [0]),
    "perf_event_open": (298, [0, 0, -1, -1, 0]),
    "lookup_dcookie": (212, [0, 0, 0]),
    "ptrace_traceme": (101, [0, 0, 0, 0]),
    "kcmp": (312, [1, 1, 0, 0, 0]),
    "migrate_pages": (256, [0, 0, 0, 0]),
    "move_pages": (279, [0, 0, 0, 0, 0, 0]),
    "memfd_secret": (447, [0]),
    "io_uring_setup": (425, [1, 0]),
    "modify_ldt": (154, [1, 0, 0]),
    "name_to_handle_at": (303, [-100, 0, 0, 0, 0]),
    "pidfd_getfd": (438, [0, 0, 0]),
    "process_madvise": (440, [0, 0, 0, 0, 0]),
}
