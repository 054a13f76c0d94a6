"""Honest tools behind each lock of the kernel: their everyday work gets done, or what does not is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sandboxes import ROOT
from workers.sandbox import landlock
from workers.sandbox.syscalls import filter_program

# No server of one's own and no session of one's own, where no namespace hides and ends what comes of it.
ALONE = {"serves_itself", "leads_a_session"}

_UNDER_A_FILTER = """
import sys
from pathlib import Path
from tests.support.ordinary_things import main
from workers.sandbox.syscalls import install
install(Path(sys.argv[1]).read_bytes())
main()
"""
_UNDER_LANDLOCK = """
import os, sys
from tests.support.ordinary_things import main
from workers.sandbox.landlock import Restriction
os.environ["TMPDIR"] = os.getcwd()
shown = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/dev/urandom", sys.prefix, sys.base_prefix)
granted = [path for path in shown if os.path.exists(path)]
Restriction(granted, [os.getcwd(), "/dev/null", "/dev/shm"], tcp_ports=None).enforce()
main()
"""


def failures(script: str, folder: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    failed = json.loads(done.stdout)
    for name, words in failed.items():
        print(name, words)
    return set(failed)


@pytest.mark.parametrize("level", ["ns", "shared", "landlock"])
@pytest.mark.parametrize("counted", [False, True])
def test_under_the_default_filter_all_works_that_needs_no_network_of_the_machine(
    tmp_path: Path, level: str, counted: bool
) -> None:
    (tmp_path / "filter").write_bytes(filter_program(level=level, counted_memory=counted))

    assert failures(_UNDER_A_FILTER, tmp_path, str(tmp_path / "filter")) == (ALONE if level == "landlock" else set())


@pytest.mark.parametrize("level", ["ns", "shared", "landlock"])
def test_under_the_strict_filter_only_sockets_are_missed(tmp_path: Path, level: str) -> None:
    (tmp_path / "filter").write_bytes(filter_program("strict", level=level))

    missed = failures(_UNDER_A_FILTER, tmp_path, str(tmp_path / "filter"))
    assert missed == (ALONE if level == "landlock" else {"serves_itself"})


def test_with_a_network_the_strict_filter_lets_servers_be(tmp_path: Path) -> None:
    (tmp_path / "filter").write_bytes(filter_program("strict", network=True))

    assert failures(_UNDER_A_FILTER, tmp_path, str(tmp_path / "filter")) == set()


@pytest.mark.skipif(landlock.abi() == 0, reason="there is no Landlock in this kernel")
def test_behind_landlock_all_works_below_the_folders_that_are_granted(tmp_path: Path) -> None:
    assert failures(_UNDER_LANDLOCK, tmp_path) == set()
