"""The levels below ns, for machines that refuse namespaces in part or altogether; each names what it leaves open.

It starts nothing: what is made here is tried out before a call is trusted to it, as every level is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from queues.settings import SandboxSettings
from workers.sandbox import landlock
from workers.sandbox.base import Limits, SandboxLevel, SandboxUnavailableError
from workers.sandbox.bubblewrap import carried
from workers.sandbox.confinement import SCRATCH, SHARED_MEMORY, WORKSPACE, Plan
from workers.sandbox.levels import Grants, Level, expected_of_ns
from workers.sandbox.visible import View

SHARED_STEPS = (
    "die_with_parent",
    "own_session",
    "examinable",
    "first_to_go",
    "own_descriptors",
    "resources",
    "no_new_privileges",
    "only_these_files",
    "filtered",
)
LANDLOCK_STEPS = (
    "die_with_parent",
    "own_session",
    "examinable",
    "first_to_go",
    "processes_by_user",
    "own_descriptors",
    "resources",
    "folder_as_scratch",
    "no_new_privileges",
    "only_these_files",
    "filtered",
)
SHARED_GAPS = (
    "calls of one slot follow each other in the same namespaces of processes, System V objects and network",
    "the number of files in /tmp is not limited",
)
LANDLOCK_GAPS = (
    "the machine's network namespace is shared; sockets are refused by the system call filter alone",
    "processes are not hidden from the kernel's calls, only signals to them are refused",
    "names, sizes and times of files elsewhere can be asked for, not what is in them",
    "where tools run as the owner of the project's files, they can change modes, times and attributes of them",
    "disk space and the number of files are looked at, not limited: a call is stopped soon after it has gone beyond",
    "processes are counted for the whole user",
    "there is no /tmp, /proc or /dev/shm: scratch is in TMPDIR, and locks of multiprocessing cannot be had",
)
_SHARED = ("user", "pid", "mount", "ipc", "uts", "cgroup")
# The machine's own, where nothing can be shown in its place; everybody may read them anyway.
_ETC = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts")


def shared_level(
    settings: SandboxSettings,
    view: View,
    outer: Callable[[Sequence[str]], list[str]],
    *,
    seccomp: bytes,
    proc: bool,
) -> Level:
    """Namespaces that calls of one slot share, one call at a time, swept in between."""
    if settings.network == "allowlist":
        raise SandboxUnavailableError(
            'network = "allowlist" needs a network namespace for each call, so level ns: where calls share one, the '
            'traffic of one could be taken for that of another. Ask for level = "ns", or set network = "none".'
        )
    limits, offered = Limits.from_settings(settings), landlock_of(settings)
    without = {"first_to_go"} if not proc else set()
    without |= {"only_these_files"} if not offered else set()
    plan = Plan(
        steps=tuple(step for step in SHARED_STEPS if step not in without),
        # The zygote itself is one of the processes that are counted in its user namespace.
        limits=asdict(replace(limits, pids=limits.pids + 1)),
        project_dir=str(view.project_dir),
        network=settings.network,
        pid_namespace=False,
        carried=carried(view),
        noexec=settings.noexec,
        seccomp=seccomp,
        read=("/",),
        write=behind_namespaces(view),
        aftermath="everything",
    )
    network = settings.network == "host"
    # The zygote is the first process there, and its call one of those below it.
    expected = {**expected_of_ns(network=network, proc="fresh", init=False), "processes": None}
    if not offered:
        expected["stranger"] = None
    gaps = (*SHARED_GAPS, *(() if proc else ("/proc is empty",)), *(landlock.gaps(offered) if offered else ()))
    return Level(
        name=SandboxLevel.SHARED,
        outer=outer,
        plan=plan,
        expected={name: wanted for name, wanted in expected.items() if wanted is not None},
        detail={"namespaces": [*_SHARED, *([] if network else ["network"])], "landlock_abi": offered},
        gaps=gaps,
    )


def landlock_level(
    settings: SandboxSettings,
    view: View,
    *,
    seccomp: bytes,
    environment: dict[str, str],
    scratch: str,
) -> Level:
    """No namespaces at all: files by Landlock, the rest by the filter, limits and the user; no survivor in the group.

    Raises `SandboxUnavailableError` where there is no Landlock, or the pool asks for what needs mounts or a network of
    its own.
    """
    offered = min(landlock.abi(), landlock.NEWEST_ABI)
    if offered == 0 or settings.landlock == "off":
        words = "The pool has it switched off" if settings.landlock == "off" else "This kernel has none, or refuses it"
        raise SandboxUnavailableError(
            f"Level landlock needs Landlock. {words}. It takes Linux 5.13 or newer with landlock among its security "
            'modules (boot parameter lsm=…,landlock), and landlock = "auto".'
        )
    _refuse_what_needs_mounts(settings, view)
    network = settings.network == "host"
    plan = Plan(
        steps=LANDLOCK_STEPS,
        limits=asdict(Limits.from_settings(settings)),
        project_dir=str(view.project_dir),
        network=settings.network,
        pid_namespace=False,
        counted_processes=False,
        noexec=settings.noexec,
        seccomp=seccomp,
        aftermath="group",
        scratch=scratch,
    )
    expected = expected_of_ns(network=network, proc="none", init=False)
    del expected["bounding"]  # nothing can be gained from it, for nothing that is started gains anything
    if offered < landlock.NEWEST_ABI:
        del expected["stranger"]
    return Level(
        name=SandboxLevel.LANDLOCK,
        outer=list,
        plan=plan,
        expected=expected,
        detail={"namespaces": [], "landlock_abi": offered},
        environment=environment,
        gaps=(*LANDLOCK_GAPS, *landlock.gaps(offered)),
        grants=lambda: grants_of(view),
    )


def _refuse_what_needs_mounts(settings: SandboxSettings, view: View) -> None:
    if settings.network == "allowlist":
        raise SandboxUnavailableError(
            'network = "allowlist" needs network namespaces, so level ns. At level landlock a pool has no network, or, '
            'if network = "host" is spelt out, that of the machine.'
        )
    moved = [bind for bind in view.trees if bind.place.resolve() != bind.source]
    if moved:
        raise SandboxUnavailableError(
            f"{moved[0].source} is to be shown as {moved[0].place}, which needs a mount namespace. At level landlock "
            "tools find files only where they are; list it without another place."
        )


def landlock_of(settings: SandboxSettings) -> int:
    """The version of Landlock that stands behind the namespaces, 0 for none; raises if the pool requires it in vain."""
    offered = 0 if settings.landlock == "off" else min(landlock.abi(), landlock.NEWEST_ABI)
    if settings.landlock == "require" and offered == 0:
        raise SandboxUnavailableError(
            'The pool asks for landlock = "require", and this kernel has none, or refuses it. It takes Linux 5.13 or '
            'newer with landlock among its security modules (boot parameter lsm=…,landlock); or set landlock = "auto".'
        )
    return offered


def behind_namespaces(view: View) -> tuple[str, ...]:
    """What a call may write to where it sees no more than it is shown: the rest of that is read-only anyway."""
    return (SCRATCH, SHARED_MEMORY, WORKSPACE, "/proc", *(str(bind.place) for bind in view.trees if bind.writable))


def grants_of(view: View) -> Grants:
    """What a call without a mount namespace may read: what others are shown by mounts, without what these hide.

    Landlock grants and cannot take back: of a folder in which something is hidden each entry but that is granted.
    """
    folders, files = view.masked()
    hidden = {str(path.resolve()) for path in (*folders, *files)}
    read: list[str] = []
    listed: list[str] = []
    trees = [str(bind.source) for bind in (*view.trees, *view.uncovered)]
    for tree in trees:
        _grant(tree, hidden, read, listed)
    system = [str(bind.source) for bind in view.system if bind.source == bind.place.resolve()]
    write = tuple(str(bind.source) for bind in view.trees if bind.writable)
    return Grants(tuple(dict.fromkeys((*system, *_ETC, *read))), tuple(listed), write)


def _grant(path: str, hidden: Iterable[str], read: list[str], listed: list[str]) -> None:
    if path in hidden:
        return
    if not any(below.startswith(f"{path}/") for below in hidden):
        read.append(path)
        return
    listed.append(path)
    for name in os.listdir(path):  # noqa: PTH208 - names only
        entry = f"{path}/{name}"
        # A link needs no grant, and what it leads to has one of its own or none.
        if not os.path.islink(entry):  # noqa: PTH114
            _grant(entry, hidden, read, listed)
