"""What a sandboxed tool sees of this machine's files: the system, the interpreter, the project, and what a pool adds.

It never shows a home folder, the state folder, version control, settings or `.env` files, nor anything writable that
the pool does not name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from queues.settings_mounts import Mount, check_source
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
    writable: bool = False


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

    def folders(self) -> list[tuple[Path, Path]]:
        """Where entries may have to be covered: each folder as it is here, and where the tool finds it."""
        shown = {(bind.source, bind.place) for bind in self.trees} | {(self.project_dir, self.project_dir)}
        return sorted(pair for pair in shown if not pair[1].is_relative_to(sys.base_prefix) and pair[0].is_dir())

    def masked(self) -> tuple[list[Path], list[Path]]:
        """Folders and files to cover, by their places, as they exist now; `Covering` tells when that has changed."""
        folders: list[Path] = []
        files: list[Path] = []
        for source, place in self.folders():
            for path in _hidden(source):
                # A worktree's `.git` is a file that points to the folder.
                if not path.is_symlink():
                    (folders if path.is_dir() else files).append(place / path.name)
        return folders, files


class Covering:
    """Remembers what had to be covered at some time, and tells whether it is still the same; cheap enough to ask often.

    A file that is replaced sheds what was mounted on it, so the same name with another inode is a change as well.
    """

    def __init__(self, view: View) -> None:
        self._sources = [source for source, _ in view.folders()]
        # A folder's own time changes with each entry that comes, goes or is replaced, pyproject.toml's with its text.
        self._watched = [str(path) for source in self._sources for path in (source, source / "pyproject.toml")]
        self._looked = self._look()
        self._found = self._find()

    def changed(self) -> bool:
        """Whether anything to cover has come, gone or been replaced."""
        looked = self._look()
        if looked != self._looked:
            if self._find() != self._found:
                return True
            self._looked = looked
        return False

    def _look(self) -> list[tuple[int, int]]:
        return [_identity(path) for path in self._watched]

    def _find(self) -> list[tuple[Path, tuple[int, int]]]:
        hidden = [path for source in self._sources for path in _hidden(source) if not path.is_symlink()]
        return [(path, (_identity(path)[0], 0)) for path in hidden]


def _identity(path: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - for each call
    except OSError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)


def _hidden(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names only
    except OSError:
        return []
    # The settings hold the address of Redis, and with it perhaps a password; tools have no use for them.
    hidden = [name for name in names if name in MASKED_FOLDERS or name.startswith(".env") or name == "errandry.toml"]
    if "pyproject.toml" in names and _holds_settings(folder / "pyproject.toml"):
        hidden.append("pyproject.toml")
    return [folder / name for name in hidden]


def _holds_settings(path: Path) -> bool:
    return path.is_file() and b"tool.errandry" in path.read_bytes()


def view_of(
    project_dir: Path, *, mounts: Sequence[Mount] = (), python_path: Sequence[str] = (), network: bool = False
) -> View:
    """What tools of this project see; raises `SandboxUnavailableError` if that would be somebody's whole home."""
    project = project_dir.resolve()
    if _too_wide(project):
        raise SandboxUnavailableError(
            f"{project} cannot be shown to tools as the project: it is a home or system folder, and all of it would be "
            "readable to them. Move errandry.toml and your code into a folder of their own."
        )
    added = [bind for mount in mounts for bind in _binds(mount, project)]
    modules = [_existing(Path(entry), project) for entry in python_path]
    imported = [Path(entry) for entry in sys.path if entry and Path(entry).is_absolute() and Path(entry).exists()]
    shown = [path for path in imported if not _too_wide(path.resolve())]
    interpreter = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix), *_hops(Path(sys.executable))]
    trees = _without_covered([*interpreter, *shown, project, *modules], added)
    return View(
        project_dir=project,
        trees=tuple(trees),
        uncovered=(Bind(project, project),) if _lies_masked(project, trees) else (),
        system=tuple(_system(network=network)),
        links=tuple((str(Path(path).readlink()), path) for path in SYSTEM if Path(path).is_symlink()),
        python_path=tuple(str(path) for path in (*modules, *shown)),
    )


def _lies_masked(project: Path, trees: Iterable[Bind]) -> bool:
    around = [bind.place for bind in trees if bind.place != project and project.is_relative_to(bind.place)]
    return any(name in MASKED_FOLDERS for place in around for name in project.relative_to(place).parts)


def _too_wide(path: Path) -> bool:
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home() raises for a user without an entry
    # A user without an entry and without HOME has none: what comes back is "~" itself, as if it lay in this folder.
    return str(path) in TOO_WIDE or (home.name != "~" and home.is_relative_to(path))


def _binds(mount: Mount, project: Path) -> list[Bind]:
    source = _existing(Path(mount.source), project).resolve()
    _check(mount, source, project)
    places = [Path(os.path.normpath(project / mount.place)), *([source] if mount.place == mount.source else [])]
    return [Bind(source=source, place=place, writable=mount.writable) for place in dict.fromkeys(places)]


def _check(mount: Mount, source: Path, project: Path) -> None:
    """The settings have judged the entry by its name; a link may lead where its name does not."""
    try:
        check_source(str(source), writable=mount.writable)
        if source.is_relative_to(project / MASKED_FOLDERS[0]) or (mount.writable and project.is_relative_to(source)):
            raise ValueError("would give tools the project itself to write to, or the product's own state to see")
    except ValueError as error:
        raise SandboxUnavailableError(
            f'"{mount.source}" in the pool\'s sandbox settings leads to {source} and so {error}.'
        ) from error


def _existing(path: Path, project: Path) -> Path:
    absolute = path if path.is_absolute() else project / path
    if not absolute.exists():
        raise SandboxUnavailableError(
            f"{path}, listed in the pool's sandbox settings, does not exist; create it or take it out of them."
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


def _without_covered(paths: Sequence[Path], added: Sequence[Bind]) -> list[Bind]:
    """One bind per path and per real path, parents first, without those that lie inside another one or in /usr."""
    wanted = {Bind(source=path.resolve(), place=place) for path in paths for place in (path.absolute(), path.resolve())}
    wanted |= set(added)
    kept: list[Bind] = []
    for bind in sorted(wanted, key=lambda bind: (len(bind.place.parts), str(bind.place), bind.writable)):
        covered = any(
            bind.place.is_relative_to(other.place)
            and bind.source == other.source / bind.place.relative_to(other.place)
            and (other.writable or not bind.writable)
            for other in kept
        )
        in_system = any(bind.source.is_relative_to(system) for system in SYSTEM)
        if not covered and (bind in added or not in_system):
            kept.append(bind)
    return kept


def _system(*, network: bool) -> list[Bind]:
    binds = [Bind(Path(path), Path(path)) for path in SYSTEM if Path(path).is_dir() and not Path(path).is_symlink()]
    names = [*ETC, *(ETC_WITH_NETWORK if network else ())]
    binds += [Bind(path.resolve(), path) for path in (Path("/etc", name) for name in names) if path.exists()]
    own = ("passwd", "group", "nsswitch.conf") if network else ("passwd", "group", "nsswitch.conf", "hosts")
    return binds + [Bind(OWN_ETC / name, Path("/etc", name)) for name in own]
