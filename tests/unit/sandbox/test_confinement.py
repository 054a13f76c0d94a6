"""The plan of a call's wall: what crosses to the zygote, and what is said of a step that fails."""

import subprocess
import sys
from dataclasses import asdict

import pytest

from tests.support.sandboxes import ROOT
from workers.sandbox.base import Limits
from workers.sandbox.confinement import STEPS, Plan
from workers.sandbox.levels import ns_steps

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces")


def test_a_plan_crosses_as_text_unchanged() -> None:
    plan = Plan(
        steps=("own_session", "filtered"),
        limits=asdict(Limits(pids=5)),
        project_dir="/p",
        carried=("/tmp/p",),
        seccomp=bytes(range(256)),
        read=("/",),
        handed=("listener",),
    )

    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("proc", ["fresh", "none"])
@pytest.mark.parametrize("way_out", [True, False])
@pytest.mark.parametrize("landlock", [True, False])
def test_every_step_of_the_level_is_there_and_rights_are_given_up_last(
    proc: str, way_out: bool, landlock: bool
) -> None:
    steps = ns_steps(proc=proc, way_out=way_out, landlock=landlock)

    assert set(steps) <= set(STEPS)
    assert ("way_out" in steps) is way_out
    assert ("fresh_proc" in steps, "no_proc" in steps) == (proc == "fresh", proc == "none")
    for needs_rights in ("namespaces", "scratch", "own_user", "way_out", "no_proc"):
        assert needs_rights not in steps or steps.index(needs_rights) < steps.index("no_capabilities")
    assert steps.index("no_new_privileges") < steps.index("filtered")


def test_a_step_that_fails_is_named_and_nothing_comes_after_it() -> None:
    script = (
        "from workers.sandbox.confinement import Plan, confine\n"
        "try:\n    confine(Plan(steps=('filtered', 'own_session'), limits={}, project_dir='/', seccomp=b'no filter'))\n"
        "except OSError as error:\n    import os; print(error.strerror, os.getsid(0) == os.getpid())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("filtered: ") and done.stdout.endswith("False\n")


def test_what_was_made_ready_does_nothing_until_a_child_performs_it_and_each_child_can() -> None:
    script = (
        "import os, resource\n"
        "from workers.sandbox import confinement, kernel\n"
        "limits = {'memory_mb': 1, 'file_mb': 3, 'open_files': 40, 'cpu_seconds': 9, 'pids': 5}\n"
        "plan = confinement.Plan(steps=('own_session', 'resources'), limits=limits, project_dir='/', "
        "counted_processes=False)\n"
        "before = resource.getrlimit(resource.RLIMIT_FSIZE), os.getsid(0)\n"
        "wall = confinement.prepared(plan)\n"
        "print((resource.getrlimit(resource.RLIMIT_FSIZE), os.getsid(0)) == before, flush=True)\n"
        "for _ in range(2):\n"
        "    if (pid := os.fork()) == 0:\n"
        "        kernel.perform(wall)\n"
        "        print(resource.getrlimit(resource.RLIMIT_FSIZE)[1] >> 20, os.getsid(0) == os.getpid(), flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["True", "3 True", "3 True"]


def test_a_system_call_that_is_refused_is_named_with_the_step_and_its_object() -> None:
    script = (
        "from workers.sandbox import kernel\n"
        "try:\n    kernel.perform([kernel.to_mount('tmpfs', '/no/such/place', 'tmpfs', 0)])\n"
        "except OSError as error:\n    print(error.strerror)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("mount on /no/such/place: ")
