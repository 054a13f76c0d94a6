"""Payloads in two halves: the first leaves something for the next call, the second looks for it."""

# ruff: noqa: PTH101, PTH103, PTH109, PTH111, PTH208 - payloads go as straight to the kernel as they can
from __future__ import annotations

import builtins
import contextlib
import ctypes
import json
import os
import random
import secrets as tokens
import sys
import uuid
from pathlib import Path

from tests.support.hostile.attempts import LIBC, Loot, Targets, numbered_processes, scratch, system_call
from tests.support.hostile.outliving import stay_as_daemon

KEPT: list[str] = []
_KEY = 0x4711


def leave_in_globals(targets: Targets) -> str:
    """In this module, in another one, and in builtins."""
    KEPT.append("left")
    builtins.kept_by_a_call = "left"  # type: ignore[attr-defined]
    sys.modules["planted_module"] = sys.modules[__name__]
    sys.path.insert(0, "/planted")
    return "left"


def look_in_globals(targets: Targets) -> list[str]:
    """All of them."""
    found = list(KEPT)
    found += ["builtins"] if hasattr(builtins, "kept_by_a_call") else []
    found += ["a module"] if "planted_module" in sys.modules else []
    found += ["the path"] if "/planted" in sys.path else []
    return found


def leave_changed_functions(targets: Targets) -> str:
    """Of the standard library."""
    os.getcwd = lambda: "/changed"
    json.loads = lambda *_, **__: "changed"
    random.random = lambda: 0.5
    return "left"


def look_for_changed_functions(targets: Targets) -> list[str]:
    """The same."""
    found = ["os.getcwd"] if os.getcwd() == "/changed" else []
    found += ["json.loads"] if json.loads("1") != 1 else []
    return found + (["random.random"] if random.random() == random.random() == 0.5 else [])


def leave_in_the_environment(targets: Targets) -> str:
    """A variable, a folder, a mask, a handler."""
    os.environ["LEFT_BY_A_CALL"] = "left"
    os.chdir(scratch(""))
    os.umask(0o123)
    return "left"


def look_in_the_environment(targets: Targets) -> list[str]:
    """The same."""
    found = ["a variable"] if "LEFT_BY_A_CALL" in os.environ or os.getenv("LEFT_BY_A_CALL") else []
    found += ["the folder"] if os.getcwd() == scratch("").rstrip("/") else []
    return found + (["the mask"] if os.umask(0o077) == 0o123 else [])


def leave_in_scratch(targets: Targets) -> str:
    """Files wherever they can be written."""
    for folder in (scratch(""), "/tmp", "/dev/shm", "/var/tmp", "/run", os.path.expanduser("~")):
        with contextlib.suppress(OSError):
            Path(folder, f"left-{targets['plant']}").write_text("left")
    return "left"


def look_in_scratch(targets: Targets) -> list[str]:
    """Files, by name."""
    found = []
    for folder in (scratch(""), "/tmp", "/dev/shm", "/var/tmp", "/run", os.path.expanduser("~")):
        path = Path(folder, f"left-{targets['plant']}")
        if path.exists():
            found.append(str(path))
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def leave_in_scratch_for_good(targets: Targets) -> str:
    """In folders that nobody may enter or remove, with a name that is no text."""
    os.makedirs(scratch("deep/") + "d/" * 200)
    Path(os.fsdecode(os.fsencode(scratch("")) + b"\xff\xfe\n-left")).write_text("left")
    Path(scratch("closed")).mkdir()
    Path(scratch("closed/file")).write_text("left")
    os.chmod(scratch("closed"), 0)
    os.chmod(scratch("deep/d"), 0)
    return "left"


def look_in_scratch_for_anything(targets: Targets) -> list[str]:
    """Whatever is there before this call wrote anything, but for the project, if that lies below /tmp."""
    found = [f"{folder}{name}" for folder in (scratch(""), "/dev/shm/") for name in _names(folder)]
    shown = [os.getcwd(), *sys.path]
    return [path for path in found if not any(f"{place}/".startswith(f"{path}/") for place in shown)]


def leave_a_process(targets: Targets) -> str:
    """One that waits for the next call."""
    return stay_as_daemon(targets)


def look_for_a_process(targets: Targets) -> list[str]:
    """Every command line in sight."""
    found = []
    for pid in numbered_processes():
        with contextlib.suppress(OSError):
            if targets["sleep"].encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(str(pid))
    return found


def leave_in_shared_memory(targets: Targets) -> str:
    """System V memory, semaphores and queues under a known key; refused is as good as gone."""
    for number, arguments in ((29, (_KEY, 4096, 0o1666)), (64, (_KEY, 1, 0o1666)), (68, (_KEY, 0o1666))):
        with contextlib.suppress(OSError):
            system_call(number, *arguments)
    return "left"


def look_in_shared_memory(targets: Targets) -> list[str]:
    """The same, and posix queues."""
    loot = Loot()
    loot.doing("segment", lambda: LIBC.shmctl(system_call(29, _KEY, 0, 0), 0, None))
    loot.doing("semaphore", lambda: LIBC.semctl(system_call(64, _KEY, 0, 0), 0, 0))
    loot.doing("queue", lambda: LIBC.msgctl(system_call(68, _KEY, 0), 0, None))
    loot.doing("posix queue", lambda: system_call(240, b"left", os.O_RDONLY, 0, 0))
    return loot


def leave_in_a_posix_queue(targets: Targets) -> str:
    """The other kind of message queue."""
    with contextlib.suppress(OSError):
        system_call(240, b"left", os.O_RDWR | os.O_CREAT, 0o666, 0)
    return "left"


def leave_an_abstract_listener(targets: Targets) -> str:
    """A name in the network namespace, held by a process that stays."""
    import socket  # noqa: PLC0415 - not in every sandbox

    with contextlib.suppress(OSError):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0left")
        listener.listen()
        listener.set_inheritable(True)
        stay_as_daemon(targets)
    return "left"


def look_for_an_abstract_listener(targets: Targets) -> list[str]:
    """The same name."""
    import socket  # noqa: PLC0415

    loot = Loot()
    with contextlib.suppress(OSError):
        stream = socket.socket(socket.AF_UNIX)
        loot.doing("listener", lambda: stream.connect("\0left"))
    return loot


def leave_open_files_locked(targets: Targets) -> str:
    """A lock on a file of the project."""
    import fcntl  # noqa: PLC0415

    with contextlib.suppress(OSError):
        fcntl.flock(os.open(f"{targets['project']}/app.py", os.O_RDONLY), fcntl.LOCK_EX)
    return "left"


def look_for_a_lock(targets: Targets) -> list[str]:
    """The same file."""
    import fcntl  # noqa: PLC0415

    try:
        fcntl.flock(os.open(f"{targets['project']}/app.py", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ["locked"]
    return []


def draw_random_numbers(targets: Targets) -> str:
    """From every source; no two calls may draw the same."""
    address = ctypes.c_long()
    system_call(318, ctypes.byref(address), 8, 0)
    return json.dumps([random.random(), random.getrandbits(64), tokens.token_hex(8), str(uuid.uuid4()), address.value])


def leave_the_random_state_known(targets: Targets) -> str:
    """Seeded, so that the next call would draw what this one knows."""
    random.seed(4711)
    return json.dumps([random.random()])


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []
