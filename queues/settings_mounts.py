"""The folders that a pool adds to what its tools see: how they are spelt, and which ones no pool may be given.

It never touches a file; whether a path exists, and where its links lead, is found out where a sandbox is opened.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import PurePosixPath

# Writable, they would hand the machine over; everything below them counts as well.
_SYSTEM_TREES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/boot", "/run", "/var/run")
# Even to be read: the kernel's own file systems, which a sandbox has its own of or none.
_KERNEL_TREES = ("/proc", "/sys", "/dev")
# Folders that hold everybody's things; a folder inside them may be named.
_TOO_WIDE = ("/", "/home", "/root", "/var", "/var/lib", "/tmp", "/opt", "/srv", "/mnt", "/media")  # noqa: S108
# Places inside that are the sandbox's own.
_OWN_PLACES = ("/workspace", *_SYSTEM_TREES, *_KERNEL_TREES)


@dataclass(frozen=True)
class Mount:
    """One entry of `read_only` or `read_write`: a path of this machine, and where the tool finds it."""

    source: str
    place: str
    writable: bool = False


def parse_mount(entry: str, *, writable: bool = False) -> Mount:
    """The mount that `"src"` or `"src:dst"` spells; raises ValueError with the rest of a sentence."""
    source, colon, place = entry.partition(":")
    if not source or (colon and not place) or ":" in place or "\0" in entry:
        raise ValueError(f'is "{entry}"; write "path", or "path:place" with the place where tools shall find it')
    check_source(source, writable=writable)
    if colon:
        _check_place(place)
    return Mount(source=source, place=place or source, writable=writable)


def check_source(source: str, *, writable: bool) -> None:
    """Raises ValueError, with the rest of a sentence, for a path of this machine that no pool may be given.

    It goes by the name alone: whoever knows where its links lead asks again with that.
    """
    path = _plain(source)
    if not path.is_absolute():
        return
    if str(path) == "/" or _below(path, _KERNEL_TREES):
        raise ValueError(f'names "{source}", which no tool may see; name the folder that the tools need')
    if writable and (str(path) in _TOO_WIDE or _below(path, _SYSTEM_TREES)):
        raise ValueError(
            f'names "{source}", which is the system\'s; a tool that writes there owns this machine. Name a folder of '
            "your own"
        )


def _check_place(place: str) -> None:
    path = _plain(place)
    if not path.is_absolute() or str(path) in _TOO_WIDE:
        raise ValueError(f'puts something at "{place}"; the place inside is an absolute path such as /reference')
    if _below(path, _OWN_PLACES):
        raise ValueError(f'puts something at "{place}", which is the sandbox\'s own; choose a place such as /reference')


def _plain(path: str) -> PurePosixPath:
    """The path without `.`, doubled slashes and `..`, so that none of them leads past a check."""
    plain = posixpath.normpath(path)
    return PurePosixPath("/" + plain.lstrip("/") if path.startswith("/") else plain)


def _below(path: PurePosixPath, trees: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(tree) for tree in trees)
