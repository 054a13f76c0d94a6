"""What Landlock takes away: each right tried in a child, with and without it."""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.forked import in_child, kill_own_child
from workers.sandbox import landlock
from workers.sandbox.landlock import Restriction, abi, gaps
from workers.sandbox.syscall_numbers import machine
from workers.sandbox.syscall_program import Rule, assemble
from workers.sandbox.syscalls import install

pytestmark = pytest.mark.skipif(abi() < 6, reason="needs a kernel with Landlock ABI 6")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """One to read, one to write, and one that is not granted; each with a file and a program."""
    made = tuple(tmp_path / name for name in ("read", "write", "other"))
    for folder in made:
        folder.mkdir()
        (folder / "file").write_text("content")
        (folder / "program").write_text("#!/bin/sh\nexit 0\n")
        (folder / "program").chmod(0o755)
    return made[0], made[1], made[2]


def restricted(
    folders: tuple[Path, Path, Path], attempt: Callable[[], object], *, scoped: bool = True, noexec: bool = False
) -> object:
    """What comes of the attempt in a child that may read the first folder and write the second."""

    def confined() -> object:
        read = [str(folders[0]), "/usr", "/bin", "/lib", "/lib64"]
        Restriction(read, [str(folders[1])], scoped=scoped, noexec=noexec).enforce()
        return attempt()

    return in_child(confined)


def executed(path: Path) -> int:
    pid = os.posix_spawn(path, [str(path)], {})
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


READS: list[Callable[[Path], object]] = [
    lambda folder: (folder / "file").read_text(),
    lambda folder: len(list(folder.iterdir())),
    lambda folder: executed(folder / "program"),
]
WRITES: list[Callable[[Path], object]] = [
    lambda folder: (folder / "file").write_text("new"),
    lambda folder: (folder / "made").write_text("new"),
    lambda folder: (folder / "made").mkdir(),
    lambda folder: (folder / "made").symlink_to("file"),
    lambda folder: os.mkfifo(folder / "made"),
    lambda folder: (folder / "file").unlink(),
    lambda folder: os.truncate(folder / "file", 1),
    lambda folder: (folder / "file").rename(folder / "moved") and None,
    lambda folder: socket.socket(socket.AF_UNIX).bind(str(folder / "made")),
]


@pytest.mark.parametrize("attempt", READS)
def test_what_is_not_granted_cannot_be_read_listed_or_executed(
    folders: tuple[Path, Path, Path], attempt: Callable[[Path], object]
) -> None:
    for granted in folders[:2]:
        assert restricted(folders, partial(attempt, granted)) == in_child(partial(attempt, granted)) != errno.EACCES
    assert restricted(folders, partial(attempt, folders[2])) == errno.EACCES


@pytest.mark.parametrize("attempt", WRITES)
def test_only_what_is_granted_can_be_changed(
    folders: tuple[Path, Path, Path], attempt: Callable[[Path], object]
) -> None:
    read, write, other = folders
    for closed in (read, other):
        assert restricted(folders, partial(attempt, closed)) == errno.EACCES
    assert restricted(folders, partial(attempt, write)) not in (errno.EACCES, errno.EXDEV)


def test_files_move_between_folders_that_are_granted(folders: tuple[Path, Path, Path]) -> None:
    _, write, other = folders
    (write / "inner").mkdir()

    def move(to: Path) -> str:
        (write / "file").rename(to / "moved")
        return "moved"

    assert restricted(folders, partial(move, other)) in (errno.EACCES, errno.EXDEV)
    assert restricted(folders, partial(move, write / "inner")) == "moved"


def test_a_single_file_can_be_granted_without_its_folder(folders: tuple[Path, Path, Path]) -> None:
    _, _, other = folders

    def attempt() -> list[object]:
        Restriction([str(other / "program")], [str(other / "file")]).enforce()
        (other / "file").write_text("new")
        return [(other / "file").read_text(), os.access(other, os.R_OK), (other / "program").read_text()[:2]]

    assert in_child(attempt) == ["new", True, "#!"]
    assert restricted((other / "file", other / "program", other), lambda: len(list(other.iterdir()))) == errno.EACCES


def test_a_folder_can_be_listed_only(folders: tuple[Path, Path, Path]) -> None:
    other = folders[2]

    def attempt() -> list[object]:
        Restriction([str(other / "program")], [], listed=[str(other)]).enforce()
        return [
            sorted(path.name for path in other.iterdir()),
            tried((other / "program").read_text),
            tried((other / "file").read_text),
        ]

    assert in_child(attempt) == [["file", "program"], 0, errno.EACCES]


def test_programs_in_scratch_run_unless_that_is_refused(folders: tuple[Path, Path, Path]) -> None:
    program = folders[1] / "program"

    assert restricted(folders, partial(executed, program)) == 0
    assert restricted(folders, partial(executed, program), noexec=True) == errno.EACCES
    assert restricted(folders, program.read_text, noexec=True) == program.read_text()


def test_no_device_can_be_made_or_controlled(folders: tuple[Path, Path, Path]) -> None:
    if os.geteuid() == 0:
        node = folders[1] / "node"
        assert restricted(folders, partial(os.mknod, node, 0o020600, os.makedev(1, 3))) == errno.EACCES

    def control(granted: bool) -> int:
        Restriction(["/dev/urandom"], [], devices=["/dev/urandom"] if granted else []).enforce()
        with Path("/dev/urandom").open("rb") as stream:
            libc = ctypes.CDLL(None, use_errno=True)
            return (
                0 if libc.ioctl(stream.fileno(), 0x80045200, ctypes.byref(ctypes.c_int())) == 0 else ctypes.get_errno()
            )

    assert in_child(partial(control, False)) == errno.EACCES
    assert in_child(partial(control, True)) == 0


def connect(port: int) -> str:
    # Not create_connection: it would look names up in files that are out of reach.
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))
    return "connected"


def listen() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
    return "listening"


@pytest.mark.parametrize(
    ("ports", "connected", "listening"),
    [((), errno.EACCES, errno.EACCES), ("that one", "connected", errno.EACCES), (None, "connected", "listening")],
)
def test_tcp_leads_only_to_the_ports_that_are_granted(
    ports: str | tuple[int, ...] | None, connected: object, listening: object
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        granted = [port] if ports == "that one" else None if ports is None else []

        def confined(attempt: Callable[[], object]) -> object:
            Restriction([], [], tcp_ports=granted).enforce()
            return attempt()

        assert in_child(partial(confined, partial(connect, port))) == connected
        assert in_child(partial(confined, listen)) == listening


def test_signals_stay_inside(folders: tuple[Path, Path, Path]) -> None:
    def kill_parent() -> str:
        os.kill(os.getppid(), 0)
        return "reached"

    assert restricted(folders, kill_parent, scoped=True) == errno.EPERM
    assert restricted(folders, kill_parent, scoped=False) == "reached"
    assert restricted(folders, kill_own_child, scoped=True) == -signal.SIGKILL


def test_abstract_sockets_stay_inside(folders: tuple[Path, Path, Path]) -> None:
    name = f"\0errandry-test-{os.getpid()}"

    def call() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
        return "connected"

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert restricted(folders, call, scoped=True) == errno.EPERM
        assert restricted(folders, call, scoped=False) == "connected"


def test_what_is_open_already_stays_open(folders: tuple[Path, Path, Path]) -> None:
    with (folders[2] / "file").open() as stream:
        assert restricted(folders, stream.read) == "content"


def test_it_holds_for_what_is_started_and_cannot_be_taken_back(folders: tuple[Path, Path, Path]) -> None:
    secret = folders[2] / "file"

    def attempt() -> list[object]:
        Restriction(["/"], ["/"]).enforce()
        started = os.fork()
        if started == 0:
            try:
                secret.read_text()
            except PermissionError:
                os._exit(1)
            os._exit(0)
        return [os.waitstatus_to_exitcode(os.waitpid(started, 0)[1])]

    assert in_child(attempt) == [0]
    assert restricted(folders, attempt) == [1]


def test_a_path_that_is_not_there_is_named(folders: tuple[Path, Path, Path]) -> None:
    def attempt() -> str:
        try:
            Restriction(["/no/such/folder"], []).enforce()
        except FileNotFoundError as error:
            return str(error.filename)
        return "restricted"

    assert in_child(attempt) == "/no/such/folder"


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_older_kernels_are_given_only_the_rights_that_they_know(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(landlock, "NEWEST_ABI", version)
    read, write, other = folders
    (write / "inner").mkdir()

    def attempts() -> dict[str, object]:
        restriction = Restriction([str(read)], [str(write)])
        restriction.enforce()
        return {
            "used": restriction.used,
            "moved": tried(lambda: (write / "file").rename(write / "inner" / "moved")),
            "truncated": tried(lambda: os.truncate(other / "file", 0)),
            "read": tried((other / "file").read_text),
            "connected": tried(partial(connect, port)),
            "signalled": tried(lambda: os.kill(os.getppid(), 0)),
        }

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert in_child(attempts) == {
            "used": version,
            "moved": 0 if version >= 2 else errno.EXDEV,
            "truncated": errno.EACCES if version >= 3 else 0,
            "read": errno.EACCES,
            "connected": errno.EACCES if version >= 4 else 0,
            "signalled": errno.EPERM if version >= 6 else 0,
        }


def tried(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or -1
    return 0


def test_gaps_are_named_until_there_are_none() -> None:
    assert gaps(0) == ["Landlock is missing"]
    assert [len(gaps(version)) for version in range(1, 9)] == [5, 4, 3, 2, 1, 0, 0, 0]
    assert gaps(5) == ["signals reach other processes of the same user, and abstract sockets those of the machine"]


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_it_is_found_out_by_asking(error: int) -> None:
    known = machine(os.uname().machine)
    assert known is not None
    program = assemble(
        {number: Rule(error) if number == 444 else None for number in range(1000)},
        audit_number=known.audit_number,
        unknown_error=errno.ENOSYS,
    )

    def attempt() -> list[object]:
        install(program)
        return [abi(), tried(lambda: Restriction([], []).enforce())]

    assert in_child(attempt) == [0, errno.EOPNOTSUPP]
