"""What a server's own words are judged to mean, and how findings look, without any server."""

from __future__ import annotations

import pytest
from rich.console import Console

from queues.checkup import Finding, Level, named, ok, problem, warning
from queues.server_checkup import judged
from workers.commands import findings
from workers.commands.findings import print_finding, print_verdict, worst_of
from workers.terminal import console

SAFE = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "used_memory": 1024,
    "maxmemory": 0,
    "maxclients": 10000,
    "connected_clients": 3,
}


def levels(durability: str = "everysec", **told: object) -> dict[str, Level]:
    found = judged({**SAFE, **told}, "always", durability="fsync" if durability == "fsync" else "everysec")
    return {finding.subject: finding.level for finding in found if finding.level is not Level.OK}


@pytest.mark.parametrize(
    ("version", "durability", "is_enough"),
    [
        ("6.2.0", "everysec", True),
        ("6.0.16", "everysec", False),
        ("10.0", "everysec", True),
        ("7.0.15", "fsync", False),
        ("7.2.4", "fsync", True),
    ],
)
def test_a_server_too_old_is_a_problem(version: str, durability: str, is_enough: bool) -> None:
    expected = {} if is_enough else {"redis.version": Level.PROBLEM}
    assert levels(durability, redis_version=version) == expected


def test_a_failed_write_to_disk_is_a_problem() -> None:
    assert levels(aof_last_write_status="err") == {"redis.disk": Level.PROBLEM}


def test_without_an_append_only_file_nothing_is_said_of_its_pace() -> None:
    found = [finding.subject for finding in judged({**SAFE, "aof_enabled": 0}, None)]
    assert "redis.durability" in found
    assert "redis.fsync" not in found


def test_the_worst_counts() -> None:
    fine, odd, bad = ok("a", "x"), warning("b", "x", "y"), problem("c", "x", "y")
    assert worst_of([]) is Level.OK
    assert worst_of([fine, odd]) is Level.WARNING
    assert worst_of([bad, odd, fine]) is Level.PROBLEM


def test_only_a_few_are_named() -> None:
    assert named(["a", "b"]) == ("a", "b")
    assert named([str(number) for number in range(9)]) == ("0", "1", "2", "3", "4", "… and 4 more")


def test_findings_are_plain_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    found = [ok("redis.role", "a primary"), problem("runs.dead", "2 are\x1b[2J dead", "dig", ["run_1: line\nbroken"])]
    for finding in found:
        print_finding(finding)
    print_verdict(found)
    assert capsys.readouterr().out == (
        "ok       redis.role: a primary\n"
        "problem  runs.dead: 2 are?[2J dead\n"
        "         - run_1: line broken\n"
        "         remedy: dig\n"
        "\n"
        "1 problem, 0 warnings\n"
    )
    print_verdict([found[0]])
    assert capsys.readouterr().out == "\nAll is well.\n"


def test_findings_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Console(force_terminal=True, color_system="standard", width=80, highlight=False)
    monkeypatch.setattr(findings, "console", lambda: drawn)
    with drawn.capture() as captured:
        print_finding(problem("runs.dead", "gone", ""))
    assert captured.get().startswith("\x1b[1;31mproblem")


def test_a_finding_for_machines_has_all_of_it() -> None:
    assert Finding(Level.WARNING, "a", "b", "c", ("d",)).to_dict() == {
        "level": "warning",
        "subject": "a",
        "text": "b",
        "remedy": "c",
        "details": ["d"],
    }
