"""The systemd units as texts: systemd accepts them, they are closed as far as they can be, and they fit the product."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from queues.settings import Settings
from tests.support.command import ERRANDRY
from tests.support.sandboxes import ROOT

pytestmark = pytest.mark.deploy

UNITS = ROOT / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
TOOL_WORKER = UNITS / "errandry-tool-worker@.service"
OTHERS = [unit for unit in SERVICES if unit != TOOL_WORKER]
# The higher the more exposed, up to 10. A unit without any of these lines has 9.
MOST_EXPOSED = {"errandry-tool-worker@.service": 3.4}
MOST_EXPOSED_OTHERWISE = 1.6

needs_systemd = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)


def directives(unit: Path) -> dict[str, list[str]]:
    """What the lines of a unit say, by name; an empty value takes back what was said before, as systemd has it."""
    said: dict[str, list[str]] = defaultdict(list)
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[;":
            name, _, value = line.partition("=")
            said[name] = [*said[name], value] if value else []
    return said


def installed(folder: Path, *dropins: tuple[str, Path]) -> list[Path]:
    """All units in a folder, with drop-ins, and with the command of this environment in the place of /opt's."""
    for unit in UNITS.glob("errandry*.*"):
        if unit.suffix in (".service", ".target"):
            text = unit.read_text(encoding="utf-8").replace("/opt/errandry/bin/errandry", str(ERRANDRY))
            (folder / unit.name).write_text(text, encoding="utf-8")
    for unit_name, dropin in dropins:
        place = folder / f"{unit_name}.d"
        place.mkdir(exist_ok=True)
        text = dropin.read_text(encoding="utf-8").replace("/opt/errandry/bin/errandry", str(ERRANDRY))
        (place / dropin.name).write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.service"))


def verified(unit: Path) -> str:
    """What systemd finds wrong; its exit code is 0 either way."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    units = installed(
        tmp_path,
        ("errandry-agent-worker.service", UNITS / "credentials.conf"),
        ("errandry-tool-worker@.service", UNITS / "landlock.conf"),
    )
    assert len(units) == 4
    assert {unit.name: verified(unit) for unit in units} == {unit.name: "" for unit in units}


@needs_systemd
@pytest.mark.parametrize("broken", ["ProtectSytem=strict", "ExecStart=/nowhere/errandry", "TimeoutStopSec=soon"])
def test_it_would_find_what_is_wrong(tmp_path: Path, broken: str) -> None:
    unit = next(unit for unit in installed(tmp_path) if "gateway" in unit.name)
    unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{broken}\n"), encoding="utf-8")
    assert verified(unit) != ""


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_they_are_closed_as_far_as_they_can_be(unit: Path) -> None:
    limit = MOST_EXPOSED.get(unit.name, MOST_EXPOSED_OTHERWISE)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={limit * 10:.0f}", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_commands_are_those_of_the_product(unit: Path) -> None:
    (line,) = directives(unit)["ExecStart"]
    program, command, *options = line.split()
    assert program == "/opt/errandry/bin/errandry"
    page = subprocess.run([ERRANDRY, command, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert {option for option in options if option.startswith("--")} <= set(re.findall(r"--[a-z-]+", page))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_they_leave_time_to_drain_and_come_back(unit: Path) -> None:
    said = directives(unit)
    assert float(said["TimeoutStopSec"][0]) > Settings.model_fields["drain_seconds"].default + 5
    # To the main process alone: it looks after its own.
    assert said["KillMode"] == ["mixed"]
    assert said["Restart"] == ["always"] and said["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_no_unit_holds_a_secret_and_none_runs_as_root(unit: Path) -> None:
    said = directives(unit)
    named = {entry.partition("=")[0] for line in said["Environment"] for entry in line.split()}
    assert named <= {
        "PYTHONUNBUFFERED",
        "PYTHONDONTWRITEBYTECODE",
        "ERRANDRY_BEATS_DIR",
        "ERRANDRY_GATEWAY__API_KEYS",
    }
    assert len(said["EnvironmentFile"]) == 1 and said["User"][0] not in ("", "root")
    assert said["NoNewPrivileges"] == ["yes"] and said["CapabilityBoundingSet"] == []
    assert "OPENAI_API_KEY" not in unit.read_text() or unit.name == "errandry-agent-worker.service"


def test_each_user_is_made_by_the_sysusers_file() -> None:
    made = re.findall(r"^u (\S+)", (UNITS / "errandry.sysusers").read_text(), re.MULTILINE)
    assert sorted(made) == sorted(directives(unit)["User"][0] for unit in OTHERS)
    assert directives(TOOL_WORKER)["DynamicUser"] == ["yes"] and "%i" in directives(TOOL_WORKER)["User"][0]


def test_each_line_that_the_tool_worker_lacks_says_why() -> None:
    """What all other units close and this one leaves open stands in it, with its reason above."""
    own = directives(TOOL_WORKER)
    closed = {name for name in directives(OTHERS[0]) if name.startswith(("Protect", "Restrict", "Private", "Proc"))}
    closed = {name for name in closed if all(directives(unit)[name] == directives(OTHERS[0])[name] for unit in OTHERS)}
    open_here = {name for name in closed if own[name] != directives(OTHERS[0])[name]}
    text = TOOL_WORKER.read_text()
    assert open_here == {
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelTunables",
        "RestrictAddressFamilies",
        "RestrictNamespaces",
    }
    unexplained = {name for name in open_here if not re.search(rf"^# .*\b({name}|AF_NETLINK)\b", text, re.MULTILINE)}
    assert unexplained == set()
    # And the drop-in for a level without namespaces closes them, but for a /proc that tells of processes only.
    assert open_here - directives(UNITS / "landlock.conf").keys() == {"ProcSubset"}
