"""What honest tools do, each thing a function without arguments; runs in any interpreter and imports nothing of ours.

They fail by an exception; what they return is not looked at.
"""

import asyncio
import concurrent.futures
import json
import mmap
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

GIT = "git init -q . && echo a > a && git add a && git -c user.name=n -c user.email=e commit -qm m && git log --oneline"


def starts_python() -> None:
    assert subprocess.check_output([sys.executable, "-c", "print(6 * 7)"]) == b"42\n"


def runs_pipelines() -> None:
    command = "printf 'b\\na\\n' | sort | while read x; do echo \"<$x>\"; done > out; cat out; echo $(wc -l < out)"
    assert subprocess.check_output(["/bin/sh", "-c", command], text=True).split() == ["<a>", "<b>", "2"]


def works_in_threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(abs, range(-8, 0))) == list(range(8, 0, -1))


def runs_an_event_loop() -> None:
    async def both() -> None:
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
        assert (await process.communicate(b"said"))[0] == b"said"
        assert await asyncio.to_thread(abs, -1) == 1

    asyncio.run(both())


def keeps_a_database() -> None:
    with sqlite3.connect("things.db") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table things (name)")
        database.execute("insert into things values ('one')")
    assert database.execute("select * from things").fetchall() == [("one",)]
    database.close()


def knows_ciphers() -> None:
    import hashlib  # noqa: PLC0415 - what is tried is the import
    import ssl  # noqa: PLC0415

    ssl.create_default_context()
    hashlib.sha256(os.urandom(8)).hexdigest()


def shares_a_pipe_with_processes() -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=writer.send, args=([1, 2],))
    process.start()
    assert reader.recv() == [1, 2]
    process.join()
    assert process.exitcode == 0


def pools_processes() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def leads_a_session() -> None:
    subprocess.run(["/bin/true"], start_new_session=True, check=True)


def serves_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.send(b"x")
        assert server.accept()[0].recv(1) == b"x"


def keeps_versions() -> None:
    if shutil.which("git"):
        with tempfile.TemporaryDirectory() as folder:
            environment = {"PATH": os.environ["PATH"], "HOME": folder}
            words = subprocess.run(
                ["/bin/sh", "-c", GIT], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert words.returncode == 0, words.stderr
            assert words.stdout.endswith("m\n")


def handles_files() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "one").write_text("1")
        (folder / "a" / "one").rename(folder / "a" / "b" / "two")
        (folder / "link").symlink_to("a")
        os.link(folder / "a" / "b" / "two", folder / "a" / "b" / "three")
        os.mkfifo(folder / "fifo")
        os.chmod(folder / "a", 0o700)  # noqa: PTH101 - the bare call
        os.truncate(folder / "a" / "b" / "two", 0)
        shutil.copytree(folder / "a", folder / "copied")
        with (folder / "mapped").open("wb+") as stream:
            stream.write(b"x" * 4096)
            stream.flush()
            with mmap.mmap(stream.fileno(), 4096) as mapped:
                mapped[0] = 0


def waits_and_is_woken() -> None:
    seen = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: seen.set())
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not seen.is_set():
        signal.pause()
    reader, writer = os.pipe()
    with select.epoll() as epoll:
        epoll.register(reader, select.EPOLLIN)
        os.write(writer, b"x")
        assert epoll.poll(5)
    os.close(reader)
    os.close(writer)


THINGS: list[Callable[[], None]] = [
    starts_python,
    runs_pipelines,
    works_in_threads,
    runs_an_event_loop,
    keeps_a_database,
    knows_ciphers,
    shares_a_pipe_with_processes,
    pools_processes,
    leads_a_session,
    serves_itself,
    keeps_versions,
    handles_files,
    waits_and_is_woken,
]


def failures() -> dict[str, str]:
    """Which of the things did not work, and why; all of them are tried in the current folder."""
    failed = {}
    for thing in THINGS:
        try:
            thing()
        except Exception:
            failed[thing.__name__] = traceback.format_exc()
    return failed


def main() -> None:
    """Say as JSON what failed."""
    print(json.dumps(failures()))
