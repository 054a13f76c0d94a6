"""How pools look to people and to machines, without any server."""

from __future__ import annotations

import pytest

from queues.announcements import Announcement
from queues.settings import PoolSettings, SandboxSettings
from workers.commands.pools import described, print_pools
from workers.terminal import console

POOL = PoolSettings(tools=("shop.tools:look_up",), sandbox=SandboxSettings(level="landlock", network="none"))
WAITS = {"tools.shell.high": 1, "tools.shell": 2, "tools.shell.low": 0}
WORKERS = [
    Announcement("shell@a:1", "ns", 4),
    Announcement("shell@b:7", "landlock", 2, ("no limit of disk space",)),
]


def test_a_pool_for_machines_has_all_of_it() -> None:
    assert described("shell", POOL, WORKERS, WAITS) == {
        "pool": "shell",
        "served_by": "worker",
        "tools": ["shop.tools:look_up"],
        "level_required": "landlock",
        "network": "none",
        "waiting": WAITS,
        "concurrency": 6,
        "workers": [
            {"worker": "shell@a:1", "level": "ns", "concurrency": 4, "gaps": []},
            {"worker": "shell@b:7", "level": "landlock", "concurrency": 2, "gaps": ["no limit of disk space"]},
        ],
    }


def test_the_strictest_level_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert described("shell", PoolSettings(tools=("a:b",)), [], {})["level_required"] == "ns"


def test_pools_are_plain_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    print_pools([described("shell", POOL, WORKERS, WAITS), described("python", POOL, [], {"tools.python": 0})])
    assert capsys.readouterr().out == (
        "shell  2 workers, 6 calls at once; 3 waiting; level landlock or better\n"
        "    shell@a:1  level ns, 4 at once\n"
        "    shell@b:7  level landlock, 2 at once\n"
        "        - no limit of disk space\n"
        "python  0 workers, 0 calls at once; 0 waiting; level landlock or better\n"
        "    errandry tool-worker --pool python      (nobody serves it)\n"
    )


def test_a_project_without_pools_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    print_pools([])
    assert capsys.readouterr().out == "errandry.toml has no pools\n"


def test_a_pool_that_is_served_over_http_has_executors_and_no_wall(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    remote, waits = PoolSettings(tools=("a:b",), served_by="http"), {"tools.remote": 3}
    found = described("remote", remote, [Announcement("laptop:7", "external", 1)], waits)
    assert (found["served_by"], found["level_required"], found["network"]) == ("http", None, None)
    print_pools([found, described("idle", remote, [], {"tools.idle": 0})])
    assert capsys.readouterr().out == (
        "remote  1 executor over HTTP lately; 3 waiting\n"
        "    laptop:7\n"
        "idle  0 executors over HTTP lately; 0 waiting\n"
        "    deploy/http-executors.md      (no executor asks for its calls)\n"
    )
