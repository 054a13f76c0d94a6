"""The wall around one call, put up by the call's own process from inside, step by step, before it reads a word.

It never looks at the request, imports nothing heavy, and never goes on after a step that failed.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from workers.sandbox import alone, kernel, landlock, syscalls
from workers.sandbox.egress.inside import hand_out_listener
from workers.sandbox.kernel import Act, perform

UID_INSIDE = 1000
# Where a call finds what: standard streams, request, answer, and behind them what a plan hands over besides.
REQUEST_FD, ANSWER_FD, FIRST_HANDED_FD = 3, 4, 5
# The first byte on the answer's pipe: the wall stands, and not a word of the request was read.
READY = b"\x06"
SCRATCH = "/tmp"  # noqa: S108 - the call's own, in a mount namespace of its own
SHARED_MEMORY = "/dev/shm"  # noqa: S108
WORKSPACE = "/workspace"
SHARED_MEMORY_MB, SHARED_MEMORY_INODES = 16, 1024
# Libraries reserve far more addresses than they use; the limit that counts is the supervisor's watch over real use.
ADDRESS_SPACE_FACTOR = 4
LEAST_ADDRESS_SPACE_MB = 1024


Acts: TypeAlias = Iterator[Act]


@dataclass(frozen=True)
class Plan:
    """What every call of one zygote finds around itself; made by the supervisor, the same for all of them.

    `carried` are the places below the scratch that are shown on top of it, `handed` the names of descriptors that come
    with each call beyond the usual ones, from `FIRST_HANDED_FD` on; `read`, `listed` and `write` are for Landlock.
    `aftermath` says how the zygote finds what a call leaves where no namespace takes it along: the processes of its
    group, or everything. `scratch` is where calls get folders of their own that cannot mount anything.
    """

    steps: tuple[str, ...]
    limits: Mapping[str, Any]
    project_dir: str
    network: str = "none"
    pid_namespace: bool = True
    counted_processes: bool = True
    carried: tuple[str, ...] = ()
    noexec: bool = False
    init: bool = False
    seccomp: bytes = b""
    landlock: str = "auto"
    read: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    aftermath: Literal["", "group", "everything"] = ""
    scratch: str = ""
    handed: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The plan as text."""
        return json.dumps({**asdict(self), "seccomp": base64.b64encode(self.seccomp).decode()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that `to_json` wrote."""
        fields = json.loads(text)
        tuples = {name: tuple(fields[name]) for name in ("steps", "carried", "read", "listed", "write", "handed")}
        return cls(**{**fields, **tuples, "seccomp": base64.b64decode(fields["seccomp"])})


def prepared(plan: Plan) -> list[Act]:
    """All acts of the plan's steps in their order, as far as they can be made ready before there is a call."""
    return [
        act._replace(words=f"{name}: {act.words}" if act.words else name)
        for name in plan.steps
        for act in STEPS[name](plan)
    ]


def confine(plan: Plan) -> None:
    """Take every step of the plan; OSError by the first that fails, after which the process must end."""
    perform(prepared(plan))


def die_with_parent(_: Plan) -> Acts:
    """End when the zygote ends, whatever becomes of the namespace."""
    yield kernel.to_prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def own_session(_: Plan) -> Acts:
    """No terminal and no group that is shared with another call."""
    yield Act("", os.setsid)


def namespaces(_: Plan) -> Acts:
    """Mounts, System V objects, the host's name and the view of control groups: all fresh."""
    yield kernel.to_unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP)
    yield kernel.to_mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)


def scratch(plan: Plan) -> Acts:
    """Scratch, shared memory and terminals that no call before has touched, with bounds for bytes and for entries."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | (kernel.MS_NOEXEC if plan.noexec else 0)
    disk, inodes = plan.limits["disk_mb"], plan.limits["inodes"]
    kept: list[tuple[str, int]] = []
    if plan.carried:
        yield Act("", _keep, (plan.carried, kept))
    yield _scratch(SCRATCH, flags, megabytes=disk, inodes=inodes)
    yield _scratch(
        SHARED_MEMORY, flags, megabytes=min(disk, SHARED_MEMORY_MB), inodes=min(inodes, SHARED_MEMORY_INODES)
    )
    terminals = "newinstance,ptmxmode=0666,mode=0620"
    yield kernel.to_mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, terminals)
    if plan.carried:
        yield Act("", _show_again, (kept,))


def _keep(places: Sequence[str], kept: list[tuple[str, int]]) -> None:
    kept += [(place, os.open(place, os.O_PATH)) for place in places]


def _show_again(kept: Sequence[tuple[str, int]]) -> None:
    for place, fd in kept:
        source = f"/proc/self/fd/{fd}"
        if Path(source).is_dir():
            Path(place).mkdir(parents=True)
        else:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).touch()
        kernel.mount(source, place, None, kernel.MS_BIND | kernel.MS_REC)
        os.close(fd)


def _scratch(place: str, flags: int, *, megabytes: int, inodes: int) -> Act:
    # The kernel counts the top folder as well.
    options = f"mode=1777,size={megabytes << 20},nr_inodes={inodes + 1}"
    return kernel.to_mount("tmpfs", place, "tmpfs", flags, options)


def workspace(plan: Plan) -> Acts:
    """Room for the run's workspace, filled by the runner with what the run's last call left."""
    if plan.limits["workspace_mb"]:
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | (kernel.MS_NOEXEC if plan.noexec else 0)
        yield _scratch(WORKSPACE, flags, megabytes=plan.limits["workspace_mb"], inodes=plan.limits["inodes"])


def fresh_proc(_: Plan) -> Acts:
    """A /proc that knows the processes of this call and no others."""
    yield kernel.to_mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def own_user(plan: Plan) -> Acts:
    """A user of its own, none below it, and a network of its own unless the plan leaves it this machine's."""
    # Whoever may not be examined may not write its own maps either. The zygote itself stays closed.
    yield kernel.to_prctl(kernel.PR_SET_DUMPABLE, 1)
    yield kernel.to_unshare(kernel.CLONE_NEWUSER | (0 if plan.network == "host" else kernel.CLONE_NEWNET))
    yield kernel.to_write("/proc/self/setgroups", "deny")
    yield kernel.to_write("/proc/self/uid_map", f"{UID_INSIDE} 0 1")
    yield kernel.to_write("/proc/self/gid_map", f"{UID_INSIDE} 0 1")
    yield kernel.to_write("/proc/sys/user/max_user_namespaces", "0")


def way_out(plan: Plan) -> Acts:
    """A listening socket in the call's own network, handed out while nothing but our own code has run here."""
    yield Act("", hand_out_listener, (FIRST_HANDED_FD + plan.handed.index("listener"),))


def no_proc(_: Plan) -> Acts:
    """An empty /proc; after the steps that need the real one."""
    yield kernel.to_unshare(kernel.CLONE_NEWNS)
    yield kernel.to_mount("tmpfs", "/proc", "tmpfs", kernel.MS_RDONLY, "mode=0555,size=4096,nr_inodes=2")


def first_to_go(_: Plan) -> Acts:
    """If this machine runs short of memory, the call goes first."""
    yield kernel.to_write("/proc/self/oom_score_adj", "1000")


def resources(plan: Plan) -> Acts:
    """The kernel's own limits; those that count per process are the second lock behind the watch over the call."""
    limits = plan.limits
    wanted = {
        resource.RLIMIT_AS: address_space_bytes(limits),
        resource.RLIMIT_FSIZE: limits["file_mb"] << 20,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CPU: int(limits["cpu_seconds"]) + 1,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if plan.counted_processes:
        # Within a user namespace of its own; elsewhere it would count whatever this user runs.
        wanted[resource.RLIMIT_NPROC] = limits["pids"] + (1 if plan.init else 0)
    for which, limit in wanted.items():
        hard = resource.getrlimit(which)[1]
        lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        yield Act("", resource.setrlimit, (which, (lowest, lowest)))


def address_space_bytes(limits: Mapping[str, Any]) -> int:
    """How many addresses one process of a call may reserve."""
    return int(max(limits["memory_mb"] * ADDRESS_SPACE_FACTOR, LEAST_ADDRESS_SPACE_MB)) << 20


def examinable(_: Plan) -> Acts:
    """No longer closed and deaf, as its zygote is."""
    yield Act("", alone.examinable)


def folder_as_scratch(plan: Plan) -> Acts:
    """A scratch for a call that cannot mount one."""
    yield Act("", alone.own_scratch, (plan.scratch,))


def processes_by_user(plan: Plan) -> Acts:
    """A limit of processes where nothing counts those of the call alone."""
    yield Act("", alone.counted_by_user, (plan.limits["pids"],))


def only_these_files(plan: Plan) -> Acts:
    """By Landlock: what the plan names can be read or written, and nothing else; signals stay within the call."""
    own_network = plan.aftermath != "group" or plan.network == "host"
    restriction = landlock.Restriction(
        alone.there(plan.read),
        alone.there(plan.write),
        listed=alone.there(plan.listed),
        devices=alone.there((*alone.DEVICES, *(() if plan.scratch else alone.TERMINALS))),
        noexec=plan.noexec,
        tcp_ports=None if own_network else (),
        lenient=True,  # what has gone since the list was made needs no grant
    )
    yield Act("", _enforce, (restriction, bool(plan.scratch)))


def _enforce(restriction: landlock.Restriction, has_folder: bool) -> None:
    restriction.enforce([os.environ["TMPDIR"]] if has_folder else ())


def no_capabilities(_: Plan) -> Acts:
    """Not one privilege, in no set."""
    yield from kernel.to_drop_capabilities()


def no_new_privileges(_: Plan) -> Acts:
    """No program that is started from here on gains one."""
    yield kernel.to_prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def filtered(plan: Plan) -> Acts:
    """Only the system calls that the plan's filter lets through."""
    yield from syscalls.to_install(plan.seccomp)


def own_descriptors(plan: Plan) -> Acts:
    """Nothing open but the call's own streams."""
    yield Act("", os.closerange, (FIRST_HANDED_FD + len(plan.handed), os.sysconf("SC_OPEN_MAX")))


STEPS: dict[str, Callable[[Plan], Acts]] = {
    step.__name__: step
    for step in (
        die_with_parent,
        own_session,
        namespaces,
        scratch,
        workspace,
        fresh_proc,
        own_user,
        way_out,
        first_to_go,
        no_proc,
        resources,
        examinable,
        folder_as_scratch,
        processes_by_user,
        only_these_files,
        no_capabilities,
        no_new_privileges,
        filtered,
        own_descriptors,
    )
}
