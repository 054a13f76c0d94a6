"""Payloads that write where nothing may change: the project, the system, the next call's code."""

# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH116, PTH120, PTH208 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tests.support.hostile.attempts import Loot, Targets, first_bytes, opened_for_writing, scratch


def write_into_the_project(targets: Targets) -> list[str]:
    """Change the code that the next call will run."""
    loot = Loot()
    project = Path(targets["project"])
    loot.doing("create", lambda: (project / "planted.py").write_text("planted"))
    loot.doing("relative", lambda: Path("planted_too.py").write_text("planted"))
    loot.doing("folder", lambda: (project / "planted_folder").mkdir())
    loot.doing("append", lambda: (project / "app.py").open("a").close())
    loot.doing("bytecode", lambda: (project / "__pycache__").mkdir())
    return loot


def mark_the_projects_files(targets: Targets) -> list[str]:
    """Not their text, but what is written beside it: modes, times, attributes."""
    loot = Loot()
    app = Path(targets["project"], "victim.py")
    loot.doing("mode", lambda: app.chmod(0o777))
    loot.doing("times", lambda: os.utime(app, (0, 0)))
    loot.doing("attribute", lambda: os.setxattr(app, "user.planted", b"x"))
    return loot


def change_the_projects_files(targets: Targets) -> list[str]:
    """Rename, remove and truncate what is there."""
    loot = Loot()
    app = Path(targets["project"], "victim.py")
    loot.doing("truncate", lambda: os.truncate(app, 0))
    loot.doing("rename", lambda: app.rename(app.with_suffix(".gone")))
    loot.doing("unlink", lambda: app.unlink())
    return loot


def write_into_the_system(targets: Targets) -> list[str]:
    """Plant files where the machine's programs and libraries lie."""
    loot = Loot()
    for folder in (
        "/",
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/etc",
        "/bin",
        "/lib",
        "/opt",
        "/var/tmp",
        "/dev",
        "/home",
        "/run",
        "/sys",
        "/proc",
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(os.__file__),
    ):
        loot.doing(folder, lambda folder=folder: Path(folder, targets["plant"]).write_text("planted"))
    for path in ("/etc/passwd", "/etc/ld.so.cache", sys.executable, os.__file__, "/bin/sh"):
        loot.trying(path, lambda path=path: opened_for_writing(path))
    return loot


def make_a_hard_link(targets: Targets) -> list[str]:
    """A second name, in a place where it can be written to."""
    loot = Loot()
    for number, path in enumerate([*targets["canaries"], "/etc/passwd", f"{targets['project']}/app.py"]):
        link = scratch(f"hard{number}-{targets['plant']}")
        loot.doing(f"link to {path}", lambda path=path, link=link: os.link(path, link))
        with contextlib.suppress(OSError):
            os.unlink(link)
    return loot


def make_device_nodes(targets: Targets) -> list[str]:
    """Disks and memory under names of one's own."""
    loot = Loot()
    for name, kind, major, minor in (
        ("mem", stat.S_IFCHR, 1, 1),
        ("vda", stat.S_IFBLK, 254, 0),
        ("sda", stat.S_IFBLK, 8, 0),
        ("kmsg", stat.S_IFCHR, 1, 11),
        ("fuse", stat.S_IFCHR, 10, 229),
    ):
        path = scratch(f"{name}-{targets['plant']}")
        loot.doing(
            name,
            lambda path=path, kind=kind, major=major, minor=minor: os.mknod(
                path, kind | 0o666, os.makedev(major, minor)
            ),
        )
        with contextlib.suppress(OSError):
            os.unlink(path)
    return loot


def open_the_kernels_switches(targets: Targets) -> list[str]:
    """What runs a program as the machine's root, or brings the machine down; opened, not written."""
    loot = Loot()
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sysrq-trigger",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/unprivileged_userns_clone",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/kernel/yama/ptrace_scope",
        "/sys/kernel/uevent_helper",
        "/proc/irq/default_smp_affinity",
    ):
        loot.trying(path, lambda path=path: opened_for_writing(path))
    for path in ("/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/sched_debug", "/proc/timer_list"):
        loot.trying(path, lambda path=path: any(b"\xff" in word for word in [first_bytes(path)]))
    return loot


def overwrite_the_interpreter(targets: Targets) -> list[str]:
    """The program that the next call starts with, by its running image."""
    loot = Loot()
    for pid in ("self", 1, os.getppid(), *targets["pids"]):
        loot.trying(f"exe of {pid}", lambda pid=pid: opened_for_writing(f"/proc/{pid}/exe"))
        loot.trying(
            f"memory of {pid}",
            lambda pid=pid: opened_for_writing(f"/proc/{pid}/mem") if pid != "self" and pid != os.getpid() else None,
        )
    return loot


def poison_the_import_path(targets: Targets) -> list[str]:
    """Code that every later interpreter would load by itself."""
    loot = Loot()
    for entry in [path for path in sys.path if path]:
        for name in ("sitecustomize.py", "planted.pth", "usercustomize.py"):
            path = Path(entry, name)
            if not path.exists():
                loot.doing(str(path), lambda path=path: path.write_text("") and path.unlink())
    return loot


def gain_by_setuid_programs(targets: Targets) -> list[str]:
    """The machine's own setuid programs, and one of one's own making."""
    loot = Loot()
    own = scratch(f"id-{targets['plant']}")
    with contextlib.suppress(OSError):
        shutil.copy(shutil.which("id") or "/usr/bin/id", own)
        os.chmod(own, 0o6755)
        loot.doing("chown to root", lambda: os.chown(own, 0, 0) if os.geteuid() != 0 else os.stat(own + "x"))
        words = subprocess.run([own], capture_output=True, text=True, check=False).stdout
        if "euid=0" in words or "uid=0(" in words:
            loot.append(words)
        os.unlink(own)
    for command in (["su", "-c", "id"], ["sudo", "-n", "id"], ["pkexec", "id"], ["newgrp", "root"]):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=3
            )
            loot.trying(command[0], lambda done=done: "uid=0(" in done.stdout)
    return loot


def use_the_cgroup_tree(targets: Targets) -> list[str]:
    """Raise one's own limits, or leave one's group."""
    loot = Loot()
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"):
        loot.trying(f"{base} leave", lambda base=base: opened_for_writing(f"{base}/cgroup.procs"))
        loot.trying(f"{base} release_agent", lambda base=base: opened_for_writing(f"{base}/release_agent"))
        with contextlib.suppress(OSError):
            os.mkdir(f"{base}/{targets['plant']}")
            os.rmdir(f"{base}/{targets['plant']}")
            loot.append(f"{base} mkdir")
        loot.trying(f"{base} list", lambda base=base: os.listdir(base))
    return loot
