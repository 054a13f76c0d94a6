"""The workspaces of a pool's runs, as the supervisor keeps them: one opaque archive a run, never looked into.

It never unpacks anything: what is in an archive comes from strangers' code and goes back behind the wall as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from pydantic import JsonValue

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from workers.sandbox.base import SandboxLevel, SandboxUnavailableError
from workers.sandbox.confinement import WORKSPACE
from workers.sandbox.packing import PREFIX
from workers.sandbox.process import Order
from workers.sandbox.verdict import Status, Verdict

FOLDER = ".errandry/workspaces"
# What an archive has besides the files: their heads, names and padding.
BYTES_PER_ENTRY = 2048
# An archive younger than this may belong to a run whose first word is still on its way to Redis.
GRACE_SECONDS = 60
_LOOK_AGAIN_SECONDS = 0.05
_ARCHIVE, _LOCK, _INCOMING = ".tar", ".lock", ".incoming"
_MOST_NAME = 200


class Workspace:
    """One run's workspace while it is held: what it was, and what a call makes of it."""

    def __init__(self, archive: Path, *, level: SandboxLevel, most_bytes: int) -> None:
        self._archive = archive
        self._level = level
        # Without a wall nothing takes a killed call's folder away but whoever gave it its name.
        self._plain = f"{tempfile.gettempdir()}/{PREFIX}{os.urandom(8).hex()}" if level is SandboxLevel.NONE else ""
        self._most_bytes = most_bytes
        self._incoming: BinaryIO | None = None
        self._incoming_path = ""
        self._received = 0
        self.problem = ""

    def described(self) -> dict[str, JsonValue]:
        """What the call is told of it: where it is to be, whether it holds anything, whose processes are around."""
        mounted = self._level in (SandboxLevel.NS, SandboxLevel.SHARED)
        place = WORKSPACE if mounted else self._plain
        return {"place": place, "archive": self._archive.exists(), "own_processes": mounted}

    def outgoing(self) -> BinaryIO | None:
        """The archive as it was left last, to be read by whoever closes it; None for a new workspace."""
        with contextlib.suppress(FileNotFoundError):
            return self._archive.open("rb")
        return None

    def receive(self, chunk: bytes) -> None:
        """Take in the next bytes of the new archive; one that grows too large is let go of, and `problem` says so."""
        self._received += len(chunk)
        if self.problem or not chunk:
            return
        try:
            if self._received > self._most_bytes:
                raise OSError("it is larger than the pool's workspace_mb and inodes allow")
            if self._incoming is None:
                fd, self._incoming_path = tempfile.mkstemp(_INCOMING, f"{self._archive.stem}.", self._archive.parent)
                self._incoming = os.fdopen(fd, "wb")
            self._incoming.write(chunk)
        except OSError as error:
            self.problem = error.strerror or str(error)

    def keep(self) -> None:
        """Put the new archive in the place of the old one, all or nothing; without a new one the old one stays."""
        if self._incoming is None or self.problem:
            return
        try:
            self._incoming.flush()
            os.fsync(self._incoming.fileno())
            Path(self._incoming_path).replace(self._archive)
        except OSError as error:
            self.problem = error.strerror or str(error)

    def discard(self) -> None:
        """Forget what a call has sent of a new archive."""
        self._received, self.problem = 0, ""
        self.close()

    def close(self) -> None:
        """Let go of a new archive that was not kept; a repeat does nothing."""
        if self._plain:
            shutil.rmtree(self._plain, ignore_errors=True)
        if self._incoming is not None:
            self._incoming.close()
            with contextlib.suppress(FileNotFoundError):
                Path(self._incoming_path).unlink()
            self._incoming = None


class WorkspaceStore:
    """The folder with the workspaces of one pool; several workers may share it, on several hosts too.

    Raises `SandboxUnavailableError` if the folder cannot be made, or is not its owner's alone.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as error:
            raise SandboxUnavailableError(
                f"The folder {folder} for workspaces cannot be made: {error.strerror}. Make it, or name another one as "
                "workspace_dir in the pool's sandbox settings."
            ) from error
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise SandboxUnavailableError(
                f"The folder {folder} for workspaces is not this worker's alone. Run chmod 700 on it and make the "
                "worker's user its owner, or name another one as workspace_dir in the pool's sandbox settings."
            )

    @contextlib.contextmanager
    def hold(self, run_id: str, level: SandboxLevel, *, cancelled: threading.Event) -> Iterator[Workspace | None]:
        """The run's workspace, held by nobody else until the end of the block; None if `cancelled` came first."""
        name = _name_of(run_id)
        lock = self._locked(name)
        while lock is None:
            if cancelled.wait(_LOOK_AGAIN_SECONDS):
                yield None
                return
            lock = self._locked(name)
        workspace = Workspace(self._folder / f"{name}{_ARCHIVE}", level=level, most_bytes=self._most_bytes)
        try:
            yield workspace
        finally:
            workspace.close()
            os.close(lock)

    def _locked(self, name: str) -> int | None:
        path = self._folder / f"{name}{_LOCK}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever removes a workspace removes its lock too; one that is gone locks nothing.
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(fd)
        return None

    def sweep(self, known: Callable[[Sequence[str]], Sequence[bool]], *, now: float | None = None) -> list[str]:
        """Remove the workspaces of runs that are not `known` any more; those that are held, or are new, stay.

        Returns the ids of those runs. What killed workers left half received goes as well.
        """
        before = (time.time() if now is None else now) - GRACE_SECONDS
        names = sorted({_stem(path) for path in self._folder.iterdir() if _touched(path) < before})
        runs = [unquote(name) for name in names]
        removed = []
        for name, run_id, is_known in zip(names, runs, known(runs) if runs else (), strict=True):
            lock = self._locked(name)
            if lock is None:
                continue
            try:
                for half in self._folder.glob(f"{name}.*{_INCOMING}"):
                    half.unlink(missing_ok=True)
                if not is_known:
                    (self._folder / f"{name}{_ARCHIVE}").unlink(missing_ok=True)
                    (self._folder / f"{name}{_LOCK}").unlink(missing_ok=True)
                    removed.append(run_id)
            finally:
                os.close(lock)
        return removed


def store_for(settings: SandboxSettings, *, pool: str, project_dir: Path) -> WorkspaceStore | None:
    """The workspaces of a pool, by default below the state folder; None for a pool that keeps none."""
    if not settings.workspace_mb:
        return None
    base = settings.workspace_dir if settings.workspace_dir is not None else project_dir / FOLDER
    most_bytes = (settings.workspace_mb << 20) + settings.inodes * BYTES_PER_ENTRY
    return WorkspaceStore(base / (pool or "default"), most_bytes=most_bytes)


@contextlib.contextmanager
def carried(order: Order, workspace: Workspace | None) -> Iterator[Order]:
    """The order with the run's workspace going along and coming back, for one attempt."""
    if workspace is None:
        yield order
        return
    workspace.discard()
    with contextlib.closing(workspace.outgoing() or io.BytesIO()) as archive:
        yield replace(order, archive=archive, receive=workspace.receive)


def not_kept(verdict: Verdict, problem: str) -> Verdict:
    """The verdict on a call that ended well, but whose workspace did not get through."""
    words = f"The tool has run, but its workspace could not be kept and is as it was before: {problem}."
    return replace(
        verdict, outcome=CallOutcome.FAILED, status=Status.OUTPUT_LIMIT, content=f"{words}\n\n{verdict.content}"
    )


def run_of(idempotency_key: str) -> str:
    """The run that a call belongs to."""
    return idempotency_key.partition(":")[0]


def _name_of(run_id: str) -> str:
    name = quote(run_id, safe="").replace(".", "%2E")
    if not name or len(name) > _MOST_NAME:
        raise SandboxUnavailableError(f"There can be no workspace for a run named {run_id[:40]!r}.")
    return name


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
