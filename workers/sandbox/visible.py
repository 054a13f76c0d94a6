"""What a sandboxed tool sees of this machine's files: the system, the interpreter, the project, and what a pool adds.

It never shows anything writable, a home folder, the state folder, version control, settings or `.env` files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers.sandbox.base import SandboxUnavailableError

OWN_ETC = Path(__file__).parent / "etc"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
ETC_WITH_NETWORK = ("resolv.conf", "gai.conf", "hosts")
# Folders that are never shown as a whole, because strangers' files or live sockets lie in them.
TOO_WIDE = frozenset(
    ("/", "/home", "/root", "/var", "/run", "/tmp", "/etc", "/opt", "/srv", "/mnt", "/media", "/dev", "/proc", "/sys")  # noqa: S108
)
MASKED_FOLDERS = (".errandry", ".git", ".hg", ".svn")


@dataclass(frozen=True)
class Bind:
    """One path of this machine (`source`, without symlinks) and where the tool finds it."""

    source: Path
    place: Path


@dataclass(frozen=True)
class View:
    """All that a tool sees; `trees` are staged for users who could not get at them by path.

    `uncovered` is the project once more if it lies in a folder that is masked in another tree, as a demonstration's
    project below `.errandry` does: it is shown on top of that mask.
    """

    project_dir: Path
    trees: tuple[Bind, ...]
    uncovered: tuple[Bind, ...]
    system: tuple[Bind, ...]
    links: tuple[tuple[str, str], ...]
    python_path: tuple[str, ...] = field(default=())

    def masked(self) -> tuple[list[Path], list[Path]]:
        """Folders and files to cover, as they exist now; asked for each call, for the state folder may appear late."""
        folders: list[Path] = []
        files: list[Path] = []
        for place in {bind.place for bind in self.trees} | {self.project_dir}:
            if place.is_relative_to(sys.base_prefix) or not place.is_dir():
                continue
            for name in MASKED_FOLDERS:
                path = place / name
                # A worktree's `.git` is a file that points to the folder.
                (folders if path.is_dir() and not path.is_symlink() else files).append(path)
            files += place.glob(".env*")
            # The settings hold the address of Redis, and with it perhaps a password; tools have no use for them.
            files += [path for path in (place / "errandry.toml", place / "pyproject.toml") if _holds_settings(path)]
        return [path for path in folders if path.exists()], [path for path in files if _coverable(path)]


def _holds_settings(path: Path) -> bool:
    if path.name == "errandry.toml" or not path.is_file():
        return True
    return b"tool.errandry" in path.read_bytes()


def _coverable(path: Path) -> bool:
    # A link cannot be covered; what it points to is either not visible at all or visible by its own name.
    return path.is_file() and not path.is_symlink()


def view_of(project_dir: Path, *, read_only: Iterable[str | Path] = (), network: bool = False) -> View:
    """What tools of this project see; raises `SandboxUnavailableError` if that would be somebody's whole home."""
    project = project_dir.resolve()
    if _too_wide(project):
        raise SandboxUnavailableError(
            f"{project} cannot be shown to tools as the project: it is a home or system folder, and all of it would be "
            "readable to them. Move errandry.toml and your code into a folder of their own."
        )
    added = [_added(Path(path), project) for path in read_only]
    python_path = [Path(entry) for entry in sys.path if entry and Path(entry).is_absolute() and Path(entry).exists()]
    shown = [path for path in python_path if not _too_wide(path.resolve())]
    interpreter = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix), *_hops(Path(sys.executable))]
    trees = _without_covered([*interpreter, *shown, project, *added])
    return View(
        project_dir=project,
        trees=tuple(trees),
        uncovered=(Bind(project, project),) if _lies_masked(project, trees) else (),
        system=tuple(_system(network=network)),
        links=tuple((str(Path(path).readlink()), path) for path in SYSTEM if Path(path).is_symlink()),
        python_path=tuple(str(path) for path in shown),
    )


def _lies_masked(project: Path, trees: Iterable[Bind]) -> bool:
    around = [bind.place for bind in trees if bind.place != project and project.is_relative_to(bind.place)]
    return any(name in MASKED_FOLDERS for place in around for name in project.relative_to(place).parts)


def _too_wide(path: Path) -> bool:
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home() raises for a user without an entry
    return str(path) in TOO_WIDE or home.is_relative_to(path)


def _added(path: Path, project: Path) -> Path:
    absolute = path if path.is_absolute() else project / path
    if not absolute.exists():
        raise SandboxUnavailableError(
            f"{path}, listed as read_only, does not exist; create it or take it out of the pool's sandbox settings."
        )
    return absolute


def _hops(executable: Path) -> list[Path]:
    """The folders through which the interpreter's chain of links leads, outside the system's own."""
    folders: list[Path] = []
    hop = executable
    while hop.is_symlink():
        hop = Path(os.path.normpath(hop.parent / hop.readlink()))
        folders.append(hop.parent.parent if hop.parent.name == "bin" else hop.parent)
    return [folder for folder in folders if not _too_wide(folder)]


def _without_covered(paths: Sequence[Path]) -> list[Bind]:
    """One bind per path and per real path, parents first, without those that lie inside another one or in /usr."""
    wanted = {Bind(source=path.resolve(), place=place) for path in paths for place in (path.absolute(), path.resolve())}
    kept: list[Bind] = []
    for bind in sorted(wanted, key=lambda bind: (len(bind.place.parts), str(bind.place))):
        covered = any(
            bind.place.is_relative_to(other.place) and bind.source == other.source / bind.place.relative_to(other.place)
            for other in kept
        )
        if not covered and not any(bind.source.is_relative_to(system) for system in SYSTEM):
            kept.append(bind)
    return kept


def _system(*, network: bool) -> list[Bind]:
    binds = [Bind(Path(path), Path(path)) for path in SYSTEM if Path(path).is_dir() and not Path(path).is_symlink()]
    names = [*ETC, *(ETC_WITH_NETWORK if network else ())]
    binds += [Bind(path.resolve(), path) for path in (Path("/etc", name) for name in names) if path.exists()]
    own = ("passwd", "group", "nsswitch.conf") if network else ("passwd", "group", "nsswitch.conf", "hosts")
    return binds + [Bind(OWN_ETC / name, Path("/etc", name)) for name in own]
