"""Honest tools: what must go on working behind every wall."""

# ruff: noqa: PTH208 - payloads go as straight to the kernel as they can
from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import json
import locale
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zoneinfo
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from tests.support.hostile.attempts import Targets, scratch


def tell_the_user(targets: Targets) -> int:
    """Who this process is, as it sees it."""
    return os.getuid()


def wait_for_a_while(targets: Targets) -> str:
    """Two seconds of honest waiting, with a file in scratch and a program that can be found by its mark."""
    Path(scratch("honest-scratch")).write_text("honest")
    with subprocess.Popen(["sleep", targets["sleep"]]) as program:
        time.sleep(2)
        still = program.poll() is None and Path(scratch("honest-scratch")).read_text() == "honest"
        program.kill()
    return "waited" if still else "somebody killed its program"


class Report(BaseModel):
    lines: list[str]
    total: float


def work_with_files(targets: Targets) -> str:
    """Write, rename, list, read and remove."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "größe.txt")
        path.write_text("text", encoding="utf-8")
        path.rename(path.with_suffix(".old"))
        with zipfile.ZipFile(Path(folder, "a.zip"), "w") as archive:
            archive.write(path.with_suffix(".old"), "inside.txt")
        names = sorted(os.listdir(folder))
        shutil.copytree(folder, Path(folder, "copy"))
    return ",".join(names)


def run_programs(targets: Targets) -> str:
    """A shell, a pipe, another interpreter."""
    shell = subprocess.run(["/bin/sh", "-c", "echo one two | wc -w"], capture_output=True, text=True, check=True)
    python = subprocess.run([sys.executable, "-c", "print(6*7)"], capture_output=True, text=True, check=True)
    return f"{shell.stdout.strip()} {python.stdout.strip()}"


def report_exit_codes(targets: Targets) -> str:
    """Of programs that fail and of programs that are killed."""
    failed = subprocess.run(["/bin/sh", "-c", "exit 7"], check=False).returncode
    killed = subprocess.run(["/bin/sh", "-c", "kill -9 $$"], check=False).returncode
    with subprocess.Popen(["sleep", "30"]) as slow:
        slow.send_signal(signal.SIGTERM)
        return f"{failed} {killed} {slow.wait()}"


def use_threads(targets: Targets) -> str:
    """A pool of them, a lock, an event."""
    lock, done, total = threading.Lock(), threading.Event(), [0]

    def add(number: int) -> None:
        with lock:
            total[0] += number

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(100)))
    threading.Timer(0.01, done.set).start()
    return f"{total[0]} {done.wait(5)}"


def use_a_database(targets: Targets) -> str:
    """A file with tables, a transaction, a journal."""
    connection = sqlite3.connect(scratch("base.sqlite"))
    with connection:
        connection.execute("create table t (a integer primary key, b text)")
        connection.executemany("insert into t (b) values (?)", [("größe",)] * 500)
    (count,) = connection.execute("select count(*) from t").fetchone()
    connection.close()
    return str(count)


def compute(targets: Targets) -> str:
    """Some honest work within the limits."""
    digest = hashlib.sha256()
    for number in range(200_000):
        digest.update(number.to_bytes(4, "big"))
    return digest.hexdigest()[:8]


def use_half_the_memory(targets: Targets) -> str:
    """Within the limit, all at once."""
    block = bytearray(targets["limits"]["memory_mb"] // 2 << 20)
    block[::4096] = b"x" * len(block[::4096])
    return str(len(block) >> 20 == targets["limits"]["memory_mb"] // 2)


def answer_in_many_scripts(targets: Targets) -> str:
    """Text is text."""
    return "größe 大小 حجم 🧰 e\u0301"


def know_the_time(targets: Targets) -> str:
    """Zones and their rules."""
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    return f"{datetime(2024, 7, 1, tzinfo=zone).utcoffset()} {abs(time.time() - targets['now']) < 600}"


def know_the_locale(targets: Targets) -> str:
    """The text encoding is UTF-8, whatever the machine's is."""
    return f"{sys.getfilesystemencoding()} {locale.getpreferredencoding(False)}".lower()


async def wait_for_several(targets: Targets) -> str:
    """Coroutines and an external program, on one loop."""

    async def later(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    numbers = await asyncio.gather(*(later(number) for number in range(5)))
    program = await asyncio.create_subprocess_exec("/bin/echo", "out", stdout=asyncio.subprocess.PIPE)
    out, _ = await program.communicate()
    return f"{sum(numbers)} {out.decode().strip()}"


def return_a_model(targets: Targets) -> Report:
    """Pydantic on both sides."""
    return Report(lines=["a", "b"], total=2.5)


def raise_an_error(targets: Targets) -> None:
    """An honest failure."""
    raise LookupError("no such customer: 4711")


def catch_signals(targets: Targets) -> str:
    """An alarm clock."""
    heard: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    until = time.monotonic() + 5
    while not heard and time.monotonic() < until:
        time.sleep(0.005)
    return str(heard)


def read_the_project(targets: Targets) -> str:
    """Its own files, by a relative path, and its own modules."""
    return Path("notes.txt").read_text() + json.dumps(sorted(os.listdir("."))[:1])[:0]


def use_a_process_pool(targets: Targets) -> str:
    """The standard library's other way."""
    import multiprocessing  # noqa: PLC0415 - heavy

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(pool.map(abs, [-1, -2]))


def talk_to_itself(targets: Targets) -> str:
    """A socket pair, as asyncio uses it."""
    import socket  # noqa: PLC0415

    ours, theirs = socket.socketpair()
    ours.sendall(b"hello")
    return theirs.recv(10).decode()
