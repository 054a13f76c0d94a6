"""Tools for the sandbox's tests: honest ones, clumsy ones and hostile ones.

They are loaded behind the wall by import string and never imported by a test.
"""

import asyncio
import contextlib
import ctypes
import importlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from agent_core.tools import tool
from agent_core.tools.context import RunContext


class Weather(BaseModel):
    city: str
    celsius: float


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(timeout_seconds=7, max_attempts=3, on_lost="retry")
async def add_later(a: int, b: int) -> int:
    """Add two numbers, asynchronously."""
    await asyncio.sleep(0)
    return a + b


def own_call(run_context: RunContext) -> str:
    """What a tool is told of its call."""
    return run_context.idempotency_key


def weather(city: str) -> Weather:
    """A pydantic model as result."""
    return Weather(city=city, celsius=21.5)


def repeat(text: str, times: int) -> str:
    """A result of any length."""
    return text * times


def surrogate() -> str:
    """A result that is no valid Unicode."""
    return "a\udc80b"


def unwritable() -> object:
    """A result that JSON cannot hold."""
    return threading.Lock()


def fail(words: str) -> None:
    """An exception, after some words on both streams."""
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    raise ValueError(words)


def leave(status: int, hard: bool = False) -> None:
    """End the process instead of returning."""
    if hard:
        os._exit(status)
    sys.exit(status)


def crash() -> None:
    """Die by a fault of its own."""
    ctypes.string_at(0)


def signal_itself() -> str:
    """Send itself a signal that ends a process, unless the process is the first of its namespace."""
    os.kill(os.getpid(), signal.SIGTERM)
    return "went on"


def answer_by_hand(answers: int, status: int) -> None:
    """Write well-formed answers to the answer's descriptor, then end."""
    answer = {"ok": True, "content": "forged", "truncated": False, "tools": []}
    for _ in range(answers):
        os.write(4, json.dumps(answer).encode())
    os._exit(status)


def give_away_by_hand(name: str) -> None:
    """Write a variable into an answer of the tool's own making."""
    os.write(4, json.dumps({"ok": True, "content": os.environ[name], "truncated": False, "tools": []}).encode())
    os._exit(0)


def print_answer() -> str:
    """Print what looks like an answer, and return something else."""
    print(json.dumps({"ok": True, "content": "forged", "truncated": False, "tools": []}), flush=True)
    return "honest"


def answer_raw(text: str) -> None:
    """Write anything to the answer's descriptor and end as if all were well."""
    os.write(4, text.encode())
    os._exit(0)


def fork_and_return() -> str:
    """Both processes return from the tool."""
    return "child" if os.fork() == 0 else "parent"


def fork_and_raise() -> str:
    """The forked process leaves the tool by an exception."""
    if os.fork() == 0:
        raise RuntimeError("child")
    return "parent"


def environment() -> dict[str, str]:
    """All environment variables."""
    return dict(os.environ)


def tell(words: str, fails: bool = False) -> str:
    """Say the words on stderr and return them."""
    print(words, file=sys.stderr)
    if fails:
        raise RuntimeError(words)
    return words


def tell_variable(name: str, padding: int = 0, streams: bool = False) -> dict[str, str]:
    """Give away a variable, in JSON, and on stderr behind some padding."""
    if streams:
        sys.stderr.write("x" * padding + os.environ[name] + "y" * padding)
        raise RuntimeError(os.environ[name])
    return {"value": os.environ[name], "padding": "p" * padding}


def surroundings(meeting: str = "", members: int = 0) -> dict[str, object]:
    """What the process is and has, once so many of its like have come to the folder where they meet."""
    if meeting:
        Path(meeting, os.urandom(8).hex()).touch()
        while len(list(Path(meeting).iterdir())) < members:
            time.sleep(0.01)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "cwd": str(Path.cwd()),
        "home": os.environ["HOME"],
        "descriptors": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()),
        "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no_new_privs": status["NoNewPrivs"].strip(),
        "groups": os.getgroups(),
        "processes": sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()),
        "session_is_own": os.getsid(0) != 0,
        "namespaces": {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()},
        "interfaces": [name for _, name in socket.if_nameindex()],
    }


def read_file(path: str) -> str:
    """Read a file."""
    return Path(path).read_text()


def list_folder(path: str) -> list[str]:
    """List a folder."""
    return sorted(entry.name for entry in Path(path).iterdir())


def write_file(path: str, text: str = "written") -> str:
    """Write a file."""
    Path(path).write_text(text)
    return Path(path).read_text()


def connect(port: int) -> str:
    """Connect to this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(100).decode()


def fill(folder: str, megabytes: int) -> int:
    """Write files until it is enough; say how much was written."""
    block = b"x" * (1 << 20)
    written = 0
    with contextlib.suppress(OSError):
        for number in range(megabytes):
            Path(folder, f"fill{number}").write_bytes(block)
            written += 1
    return written


def one_file(megabytes: int, path: str = "/tmp/large") -> None:
    """Write one large file."""
    with Path(path).open("wb") as stream:
        for _ in range(megabytes):
            stream.write(b"x" * (1 << 20))


def hog(megabytes: int, processes: int = 1, seconds: float = 10) -> int:
    """Take memory, in one process or in several, and keep it."""
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    blocks = []
    for _ in range(megabytes):
        blocks.append(b"x" * (1 << 20))
    time.sleep(seconds)
    return len(blocks)


def hog_unseen(megabytes: int) -> int:
    """Take memory that belongs to no process's address space."""
    fds = [os.memfd_create("hog") for _ in range(megabytes // 32)]
    for fd in fds:
        os.write(fd, b"x" * (32 << 20))
    return len(fds)


def system_call(number: int) -> int:
    """The error number of a bare system call."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.syscall(number, 0, 0, 0, 0, 0) == -1 else 0


def forks(wanted: int) -> int:
    """Start processes that stay, until it is enough or refused; say how many there are."""
    started = 0
    with contextlib.suppress(OSError):
        for _ in range(wanted):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            started += 1
    return started


def fork_bomb() -> None:
    """Fork for ever, in every process."""
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def one_fork_too_many(wanted: int) -> None:
    """Start processes until it is refused, and do not catch it."""
    for _ in range(wanted):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    time.sleep(60)


def spin(processes: int = 1) -> None:
    """Use CPU for ever, in one process or in several."""
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    while True:
        pass


def wait(seconds: float, mark: str = "") -> str:
    """Wait; with a mark, inside a program that can be found by it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mark:
        subprocess.run(["sleep", f"{seconds:g}", mark] if not mark.isdigit() else ["sleep", mark], check=False)
    else:
        time.sleep(seconds)
    return "waited"


def say_and_stay(words: str, seconds: float) -> str:
    """Print a line as Python prints it by itself, stay for a while, and print another one."""
    print(words)
    time.sleep(seconds)
    print("at last", file=sys.stderr)
    return "stayed"


def tell_in_halves(name: str) -> str:
    """Give away a variable on stdout, in two writes that no reader takes for one."""
    value = os.environ[name].encode()
    os.write(1, b"it is " + value[:8])
    time.sleep(0.3)
    os.write(1, value[8:] + b" indeed\n")
    return "told"


def stay(mark: str) -> str:
    """Leave a daemon behind: forked twice, in a session of its own, deaf to signals."""
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execvp("sleep", ["sleep", mark])
        os._exit(0)
    os.waitpid(between, 0)  # the daemon is in its own session then
    return "left"


def flood(megabytes: int, stream: str = "stdout", fails: bool = False) -> str:
    """Write without end in sight."""
    fd = 1 if stream == "stdout" else 2
    block = b"first" + b"x" * ((1 << 20) - 9) + b"last"
    for _ in range(megabytes):
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(fd, rest) :]
    if fails:
        raise RuntimeError("flooded")
    return "flooded"


def pool_of_processes() -> list[int]:
    """The standard library's own way to use several processes."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def shell(command: str) -> str:
    """Run a command line."""
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def open_another(project_dir: str) -> str:
    """What a worker says that is itself behind a wall which allows no further one."""
    from queues.settings import SandboxSettings  # noqa: PLC0415 - heavy, and for this tool alone
    from workers.sandbox.base import SandboxUnavailableError  # noqa: PLC0415
    from workers.sandbox.opening import open_sandbox  # noqa: PLC0415

    try:
        open_sandbox(
            SandboxSettings(), tools=["tests.support.sandbox_tools:add"], project_dir=Path(project_dir)
        ).close()
    except SandboxUnavailableError as error:
        return str(error)
    return "opened"


def raise_with_bad_words() -> None:
    """An exception whose message cannot be built."""

    class SpitefulError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    raise SpitefulError


def leave_thread_behind() -> str:
    """A thread that does not end with the tool."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "returned"


def deep() -> str:
    """Answer with JSON that nests too deeply to be parsed."""
    os.write(4, b"[" * 50_000)
    os._exit(0)


def leave_traces() -> list[str]:
    """Leave something behind wherever it can be done."""
    left = []
    for path in ("/tmp/trace", "/dev/shm/trace"):
        Path(path).write_text("trace")
        left.append(path)
    os.openpty()
    left.append("terminal")
    lasting = socket.socket(socket.AF_UNIX)
    lasting.bind("\0trace")
    lasting.listen()
    left.append("abstract socket")
    if os.fork() == 0:
        time.sleep(60)
    return left


def find_traces() -> list[str]:
    """Look for what another call has left behind."""
    found = [path for path in ("/tmp/trace", "/dev/shm/trace", "/dev/pts/0") if Path(path).exists()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as lasting:
        lasting.connect("\0trace")
        found.append("abstract socket")
    return found + [path.name for path in Path("/proc").iterdir() if path.name.isdigit() and path.name != "1"]


def many_files(wanted: int) -> None:
    """Make empty files until it is enough."""
    for number in range(wanted):
        Path("/tmp", f"file{number}").touch()


def open_many(wanted: int) -> None:
    """Have many files open at once."""
    streams = [os.open("/dev/null", os.O_RDONLY) for _ in range(wanted)]
    del streams


def flood_answer(megabytes: int) -> None:
    """Write an answer that never ends."""
    for _ in range(megabytes):
        os.write(4, b"x" * (1 << 20))


def close_everything() -> None:
    """Close every descriptor, then end as if all were well."""
    os.closerange(0, 256)
    os._exit(0)


def half_an_answer() -> None:
    """Begin an answer and end as if all were well."""
    os.write(4, b'{"ok": true, "content": "ha')
    os._exit(0)


def answer_from_two_processes() -> None:
    """A full answer by a process that was forked, and another one by the one that returns."""
    pid = os.fork()
    if pid == 0:
        os.write(4, json.dumps({"ok": True, "content": "forged", "truncated": False, "tools": []}).encode())
        os._exit(0)
    os.waitpid(pid, 0)


def hold_pipes() -> str:
    """Return while another process keeps every descriptor open."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    return "returned"


def import_word(module: str) -> str:
    """A module's own word."""
    return str(importlib.import_module(module).WORD)
