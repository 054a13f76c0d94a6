"""What the filters refuse: each rule tried in a child, on this machine's kernel, with and without the filter."""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.bpf import Call, verdict
from tests.support.forked import in_child, kill_own_child
from workers.sandbox.syscall_lists import (
    ABSENT,
    KEPT_TOGETHER,
    OF_ITSELF_ONLY,
    REFUSED,
    SHARED_MEMORY,
    STRICT,
    UNCOUNTED,
)
from workers.sandbox.syscall_numbers import MACHINES, machine
from workers.sandbox.syscalls import FilterError, filter_program, install, policy_name

LEVELS = ("ns", "shared", "landlock")
KNOWN = machine(os.uname().machine)
if KNOWN is None:
    pytest.skip("there is no filter for this machine", allow_module_level=True)
NUMBERS = KNOWN.numbers
CLONE_NEWUSER, CLONE_NEWNS, CLONE_PARENT = 0x10000000, 0x20000, 0x8000
TIOCSTI, TIOCLINUX, TIOCGWINSZ = 0x5412, 0x541C, 0x5413
AF_ALG, AF_VSOCK, IPPROTO_SCTP, IPPROTO_MPTCP = 38, 40, 132, 262
# A bad address: the kernel gets as far as looking at it only if the filter lets the call through.
BAD = 1


def system_call(name: str, *arguments: int) -> int:
    """The error number of a bare system call, 0 if it worked."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_ulong(argument & (1 << 64) - 1) for argument in arguments]
    return 0 if libc.syscall(ctypes.c_long(NUMBERS[name]), *words) != -1 else ctypes.get_errno()


def filtered(program: bytes, attempt: Callable[[], object]) -> object:
    """What comes of the attempt in a child under this filter."""

    def confined() -> object:
        install(program)
        return attempt()

    return in_child(confined)


# Every call of the lists, tried with arguments that the kernel refuses with another word than the filter does, and
# that do no harm if it does not refuse them. Calls that the lists hold but this kernel lacks are ENOSYS either way.
HARMLESS: dict[str, tuple[int, ...]] = {
    "unshare": (0x00000001,),
    "setns": (-1 & 0xFFFFFFFF, 0),
    "mount": (BAD, BAD, BAD, 0, 0),
    "umount2": (BAD, 0),
    "pivot_root": (BAD, BAD),
    "chroot": (BAD,),
    "open_tree": (-1, BAD, 0),
    "move_mount": (-1, BAD, -1, BAD, 0),
    "mount_setattr": (-1, BAD, 0, BAD, 0),
    "fsopen": (BAD, 0),
    "fsmount": (-1, 0, 0),
    "fspick": (-1, BAD, 0),
    "name_to_handle_at": (-1, BAD, BAD, BAD, 0),
    "ptrace": (16, 0),
    "process_vm_readv": (0, BAD, 1, BAD, 1, 0),
    "process_vm_writev": (0, BAD, 1, BAD, 1, 0),
    "kcmp": (0, 0, 99, 0, 0),
    "pidfd_getfd": (-1, 0, 0),
    "bpf": (0, BAD, 999),
    "perf_event_open": (BAD, 0, -1, -1, 0),
    "quotactl": (0xFFFFFFFF, BAD, 0, BAD),
    "fanotify_mark": (-1, 0, 0, -1, 0),
    "process_madvise": (-1, BAD, 1, 0, 0),
    "move_pages": (0, 1, BAD, 0, BAD, 0),
    "adjtimex": (BAD,),
    "clock_adjtime": (0, BAD),
}


@pytest.mark.parametrize("name", sorted(set(HARMLESS) & set(NUMBERS)))
def test_what_only_an_attacker_needs_is_refused(name: str) -> None:
    attempt = partial(system_call, name, *HARMLESS[name])

    assert filtered(filter_program(), attempt) == errno.EPERM
    # An ordinary user is refused much of this by the kernel anyway.
    assert in_child(attempt) not in ((0, errno.EPERM) if os.geteuid() == 0 else (0,))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("clone3", (BAD, 0)),
        ("io_uring_setup", (0, BAD)),
        ("keyctl", (99, 0)),
        ("add_key", (BAD, BAD, 0, 0, 0)),
        ("request_key", (BAD, BAD, 0, 0)),
        ("memfd_create", (BAD, 0)),
        ("shmget", (0, 0, 0)),
        ("semget", (0, 0x7FFFFFFF, 0)),
        ("mq_open", (BAD, 0, 0, 0)),
    ],
)
def test_what_libraries_can_do_without_seems_to_be_absent(name: str, arguments: tuple[int, ...]) -> None:
    attempt = partial(system_call, name, *arguments)

    assert filtered(filter_program(), attempt) == errno.ENOSYS
    assert in_child(attempt) != errno.ENOSYS


def test_no_process_gets_namespaces_of_its_own_or_becomes_a_sibling() -> None:
    # CLONE_SIGHAND without CLONE_VM is EINVAL: a control that starts nothing.
    for flags in (CLONE_NEWUSER, CLONE_NEWNS, 0x40000000, CLONE_PARENT):
        attempt = partial(system_call, "clone", flags | 0x800)
        assert filtered(filter_program(), attempt) == errno.EPERM
        assert in_child(attempt) == errno.EINVAL
    assert filtered(filter_program(), partial(system_call, "clone", 0x800)) == errno.EINVAL


def test_no_terminal_is_typed_into() -> None:
    master, slave = os.openpty()

    def ask(request: int, upper: int = 0) -> int:
        return system_call("ioctl", slave, request | upper << 32, BAD)

    try:
        for request in (TIOCSTI, TIOCLINUX):
            # The kernel looks at 32 bits only, so the filter must not be misled by the others.
            for upper in (0, 1):
                assert filtered(filter_program(), partial(ask, request, upper)) == errno.EPERM
        assert (
            filtered(filter_program(), partial(ask, TIOCGWINSZ)) == in_child(partial(ask, TIOCGWINSZ)) == errno.EFAULT
        )
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is a second set of numbers on x86-64 alone")
def test_the_second_set_of_numbers_is_refused() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def attempt() -> int:
        return 0 if libc.syscall(ctypes.c_long(0x40000000 | NUMBERS["getpid"])) != -1 else ctypes.get_errno()

    assert filtered(filter_program(), attempt) == errno.ENOSYS


def opened(family: int, kind: int, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "opened"


@pytest.mark.parametrize("policy", ["default", "strict"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("network", [False, True])
def test_only_ordinary_sockets_can_be_had(policy: str, level: str, network: bool) -> None:
    program = filter_program(policy, level=level, network=network)
    none = not network and (policy == "strict" or level == "landlock")

    for family, kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
        assert in_child(partial(opened, family, kind)) == "opened"
        assert filtered(program, partial(opened, family, kind)) == (errno.EPERM if none else "opened")
    routes = partial(opened, socket.AF_NETLINK, socket.SOCK_RAW, 0)
    assert filtered(program, routes) == (errno.EPERM if none else "opened")
    to_services = filtered(program, partial(opened, socket.AF_UNIX, socket.SOCK_STREAM))
    assert to_services == (errno.EPERM if none else errno.EAFNOSUPPORT if level == "landlock" else "opened")


@pytest.mark.parametrize(
    ("family", "kind", "protocol"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP),
        (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        (socket.AF_NETLINK, socket.SOCK_RAW, 4),
        (AF_ALG, socket.SOCK_SEQPACKET, 0),
        (AF_VSOCK, socket.SOCK_STREAM, 0),
        (socket.AF_PACKET, socket.SOCK_RAW, 0),
    ],
)
def test_no_socket_leads_around_the_network_namespace(family: int, kind: int, protocol: int) -> None:
    for level in LEVELS:
        program = filter_program(level=level, network=True)
        assert filtered(program, partial(opened, family, kind, protocol)) == errno.EAFNOSUPPORT


def paired(kind: int) -> str:
    for one in socket.socketpair(socket.AF_UNIX, kind):
        one.close()
    return "paired"


@pytest.mark.parametrize("level", LEVELS)
def test_pairs_of_sockets_can_be_had_but_not_to_be_connected_anew(level: str) -> None:
    program = filter_program(level=level)

    assert filtered(program, partial(paired, socket.SOCK_STREAM)) == "paired"
    assert filtered(program, partial(paired, socket.SOCK_SEQPACKET)) == "paired"
    datagrams = filtered(program, partial(paired, socket.SOCK_DGRAM))
    assert datagrams == (errno.EAFNOSUPPORT if level == "landlock" else "paired")


def connected_before(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            install(filter_program(level="landlock"))
            client.connect(path)
    return "connected"


def test_without_a_network_inherited_sockets_lead_nowhere(tmp_path: Path) -> None:
    assert in_child(partial(connected_before, str(tmp_path / "socket"))) == errno.EPERM


@pytest.mark.parametrize(
    ("attempt", "refused_at"),
    [
        (os.setsid, ("landlock",)),
        (partial(os.setpgid, 0, 0), ("landlock",)),
        (partial(system_call, "prlimit64", 1, 7, BAD, 0), ("shared", "landlock")),
        (partial(system_call, "prlimit64", 1, 7, 1 << 32, 0), ("shared", "landlock")),
        (partial(system_call, "setpriority", 0, 1, 99), ("shared", "landlock")),
        (partial(system_call, "setpriority", 2, 0, 99), ("shared", "landlock")),
        (partial(system_call, "sched_setaffinity", 1, 8, BAD), ("shared", "landlock")),
        (partial(system_call, "sched_setscheduler", 1, 0, BAD), ("shared", "landlock")),
        (partial(system_call, "ioprio_set", 3, 0, 0), ("shared", "landlock")),
    ],
)
def test_who_shares_namespaces_with_others_cannot_reach_or_leave_them(
    attempt: Callable[[], object], refused_at: tuple[str, ...]
) -> None:
    for level in LEVELS:
        came = filtered(filter_program(level=level), attempt)
        assert (came == errno.EPERM) == (level in refused_at), level


@pytest.mark.parametrize("level", LEVELS)
def test_its_own_settings_a_call_may_change_everywhere(level: str) -> None:
    def attempt() -> str:
        import resource  # noqa: PLC0415 - in the child

        os.nice(1)
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
        return "changed"

    assert filtered(filter_program(level=level), attempt) == "changed"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("counted", [False, True])
def test_memory_of_nobody_is_allowed_where_a_cgroup_counts_it(level: str, counted: bool) -> None:
    program = filter_program(level=level, counted_memory=counted)

    def share() -> str:
        os.close(os.memfd_create("test"))
        return "shared"

    assert filtered(program, share) == ("shared" if counted else errno.ENOSYS)
    private = partial(system_call, "shmget", 0, 0, 0)
    assert (filtered(program, private) == errno.ENOSYS) == (not counted or level != "ns")


def test_another_convention_of_calls_ends_the_process() -> None:
    audit_of_i386 = 0x40000003
    for name in MACHINES:
        assert verdict(filter_program(machine_name=name), Call(20, audit_of_i386)) == "kill"


def errors(policy: str, level: str, *, counted: bool) -> dict[str, tuple[int, ...]]:
    """With what each call fails that has a rule, if its arguments are none that any rule lets through."""
    refused, absent = (errno.EPERM,), (errno.ENOSYS,)
    expected = dict.fromkeys(REFUSED | {"clone", "ioctl", "personality"}, refused)
    if level != "ns":
        expected |= dict.fromkeys(OF_ITSELF_ONLY | {"prlimit64", "setpriority", "ioprio_set"}, refused)
    if level == "landlock":
        expected |= dict.fromkeys(KEPT_TOGETHER | {"connect", "bind", "listen", "accept", "accept4"}, refused)
    expected |= dict.fromkeys(frozenset() if counted else UNCOUNTED, absent)
    expected |= dict.fromkeys(frozenset() if counted and level == "ns" else SHARED_MEMORY, absent)
    if policy == "strict":
        names = {name for machine_name in MACHINES for name in numbers_of(machine_name)}
        expected |= dict.fromkeys(names - STRICT, refused)
    expected |= dict.fromkeys(ABSENT, absent)
    return expected | dict.fromkeys(("socket", "socketpair"), (errno.EPERM, errno.EAFNOSUPPORT))


def numbers_of(machine_name: str) -> dict[str, int]:
    known = machine(machine_name)
    assert known is not None
    return known.numbers


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("policy", ["default", "strict"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("counted", [False, True])
def test_every_number_is_judged_as_the_lists_say(name: str, policy: str, level: str, counted: bool) -> None:
    known = machine(name)
    assert known is not None
    program = filter_program(policy, level=level, counted_memory=counted, machine_name=name)
    expected = errors(policy, level, counted=counted)
    by_number = {number: call for call, number in known.numbers.items()}

    for number in (*range(1000), 0x40000000, 0x40000000 | 39, 0x7FFFFFFF, 0xFFFFFFFF):
        came = verdict(program, Call(number, known.audit_number, (0xFFFF, 0x5412, 0xFFFF, 0, 0, 0)))
        call = by_number.get(number)
        if call is None:
            assert came == errno.ENOSYS
        elif call in expected:
            assert came in expected[call], call
        else:
            assert came == "allow", call


def test_a_filter_of_the_pools_own_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "own.bpf"
    path.write_bytes(filter_program("strict"))

    assert filter_program(str(path), level="shared") == filter_program("strict")
    assert policy_name(str(path), path.read_bytes()).startswith("own.bpf:")
    with pytest.raises(FilterError, match="level landlock"):
        filter_program(str(path), level="landlock")


@pytest.mark.parametrize("content", [b"", b"1234567", b"12345678" * 4097])
def test_what_is_no_filter_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.bpf"
    path.write_bytes(content)

    with pytest.raises(FilterError, match="no compiled system call filter"):
        filter_program(str(path))
    with pytest.raises(FilterError, match="cannot be read"):
        filter_program(str(tmp_path / "missing.bpf"))


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(FilterError, match="riscv64"):
        filter_program(machine_name="riscv64")


def test_the_report_names_the_policy_and_tells_filters_apart() -> None:
    programs = {
        (policy, level): filter_program(policy, level=level) for policy in ("default", "strict") for level in LEVELS
    }
    names = {policy_name(policy, program) for (policy, _), program in programs.items()}

    assert len(names) == len(set(programs.values())) == len(programs)
    assert policy_name("default", programs["default", "ns"]).startswith("default:")


def test_a_program_that_the_kernel_refuses_is_an_error() -> None:
    # A jump that leads out of the program.
    assert filtered(b"\x05\x00\x00\x00\xff\x00\x00\x00", os.getpid) == errno.EINVAL


def test_the_filter_goes_over_to_what_is_started() -> None:
    def attempt() -> int:
        child = os.fork()
        if child == 0:
            os._exit(system_call("unshare", 0))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert filtered(filter_program(), attempt) == errno.EPERM


def test_signals_within_the_call_still_work() -> None:
    for policy in ("default", "strict"):
        for level in LEVELS:
            assert filtered(filter_program(policy, level=level), kill_own_child) == -signal.SIGKILL
