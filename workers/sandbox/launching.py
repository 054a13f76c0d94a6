"""The supervisor's side of the launcher: order processes from it, by the paths at which it finds things.

It never forks a sandbox itself, and it hands down nothing of this process's environment or descriptors.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.sandbox.companion import Companion
from workers.sandbox.staging import STAGE

END_SECONDS = 5


@dataclass(frozen=True)
class Identity:
    """The user that sandboxes start as; None of both: the user of this process, which is then not root."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def of_this_process(cls, uid: int = 65534, gid: int = 65534) -> Identity:
        """Nobody's identity for a root worker, its own for any other: a sandbox never starts as the host's uid 0."""
        return cls(uid=uid, gid=gid) if os.geteuid() == 0 else cls()


class Launcher:
    """Orders processes from one launcher process; safe to use from several threads at once."""

    def __init__(self, *, identity: Identity, stage: Sequence[Path] = ()) -> None:
        self._paths = [str(path) for path in stage]
        self._companion = Companion(
            "The sandbox's launcher",
            module="workers.sandbox.launcher",
            plan={"uid": identity.uid, "gid": identity.gid, "stage": self._paths},
            end_seconds=END_SECONDS,
        )

    @property
    def words(self) -> str:
        """What the launcher said of paths that it could not stage."""
        return str(self._companion.greeting.get("words", ""))

    def start(self) -> None:
        """Have a living launcher; raises `SandboxUnavailableError` if it does not come up."""
        self._companion.start()

    def place_of(self, path: Path) -> str:
        """Where the launcher finds `path`: by its number if it lies below a staged path, as it is otherwise."""
        if self._companion.greeting.get("staged"):
            # The longest staged path wins: it may be a mount of its own inside a shorter one.
            for number, staged in sorted(enumerate(self._paths), key=lambda item: -len(item[1])):
                if path.is_relative_to(staged):
                    return str(Path(STAGE, str(number)) / path.relative_to(staged))
        return str(path)

    def order(
        self, argv: Sequence[str], *, environment: Mapping[str, str], fds: Sequence[int], walled: bool
    ) -> socket.socket:
        """Start a process whose descriptors 1, 2, 3... are `fds`; returns the socket on which its news arrive.

        The end of that socket (a shutdown is enough) kills the process tree. Raises `SandboxUnavailableError`.
        """
        message = json.dumps({"argv": list(argv), "environment": dict(environment), "walled": walled}).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._companion.send(message, [theirs.fileno(), *fds])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """End the launcher and with it all that it started; a repeat does nothing."""
        self._companion.close()
