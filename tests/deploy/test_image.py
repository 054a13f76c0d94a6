"""The Dockerfile and what belongs to it: pinned, without root and build tools, a target per process, a true filter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

from deploy import seccomp
from deploy.checking.images import TARGETS, requirements_for
from tests.support.sandboxes import ROOT
from workers.cli import app
from workers.sandbox.syscall_lists import ABSENT, REFUSED, SHARED_MEMORY, STRICT
from workers.sandbox.syscall_numbers import MACHINES, machine

pytestmark = pytest.mark.deploy

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str, str]]:
    """Stage, instruction and its words, without comments and line ends."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8")).replace("\\\n", " ")
    stage, found = "", []
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.partition(" AS ")[2]
        found.append((stage, word, " ".join(rest.split())))
    return found


def of(stage: str, word: str) -> list[str]:
    return [rest for at, name, rest in instructions() if (at, name) == (stage, word)]


def test_hadolint_finds_nothing_wrong() -> None:
    program = Path(sys.executable).parent / "hadolint"
    words = [str(program), "--failure-threshold", "style", str(DOCKERFILE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_an_argument_and_pinned_to_a_patch() -> None:
    assert of("", "ARG")[0] in {f"BASE={base}" for base in re.findall(r"python:3\.\d+\.\d+-slim-\w+", of("", "ARG")[0])}
    assert {rest.partition(" AS ")[0] for _, word, rest in instructions() if word == "FROM"} == {"${BASE}", "process"}


def test_there_is_a_target_for_each_process_and_it_starts_a_command_of_ours() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    stages = [rest.partition(" AS ")[2] for _, word, rest in instructions() if word == "FROM"]
    assert tuple(stages) == ("build", "process", *TARGETS)
    for target in TARGETS:
        (entrypoint,) = of(target, "ENTRYPOINT")
        program, command, *options = json.loads(entrypoint)
        assert (program, command) == ("errandry", target)
        known = {option for parameter in commands[command].params for option in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= known


def test_nothing_runs_as_root_and_everything_heeds_sigterm() -> None:
    assert of("process", "USER") == ["10001:10001"]
    assert of("process", "STOPSIGNAL") == ["SIGTERM"]
    assert not any(of(target, word) for target in TARGETS for word in ("USER", "RUN", "COPY", "ADD"))
    # Its home must be no folder that a project can lie in: the sandbox shows no home to tools.
    assert "--uid 10001 --gid 10001 --home-dir /nonexistent" in of("process", "RUN")[0]


def test_only_the_environment_comes_over_from_the_build() -> None:
    assert of("process", "COPY") == ["--from=build /opt/errandry /opt/errandry"]
    (install, _) = of("build", "RUN")
    assert "venv --without-pip /opt/errandry" in install and install.count("--require-hashes") == 2
    (removed,) = re.findall(r"uninstall --quiet --yes ([a-z -]+?) &&", install)
    assert set(removed.split()) == needed(PROJECT["dependency-groups"]["build"]) - needed(
        PROJECT["project"]["dependencies"]
    )


def needed(requirements: list[str]) -> set[str]:
    """Their packages, and what those need in turn, as far as this interpreter would install it."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        extras = {"", *wanted.extras}
        if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in found and not wanted.extras:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                inner.marker = None
                waiting.append(inner)
    return found


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    locks = {"requirements.lock", "deploy/otel.lock"}
    copied = {word for rest in of("build", "COPY") for word in rest.split()[:-1] if word != "${LOCK}"} | locks
    assert let_in == copied
    assert all((ROOT / name).exists() for name in let_in)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= let_in
    after = rules[max(index for index, rule in enumerate(rules) if rule.startswith("!")) + 1 :]
    assert any(fnmatch("workers/.errandry", rule.replace("**/", "*/")) for rule in after)


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/otel.lock"])
def test_every_package_of_a_lock_has_its_hash(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    packages = re.findall(r"(?m)^[a-z0-9][^\n]*==[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n?)+)", text)
    assert len(packages) == len(re.findall(r"(?m)^[a-z0-9].*==", text)) > 50


def test_a_wheelhouse_is_for_the_python_that_will_use_it() -> None:
    lock = (
        "old==1 ; python_full_version < '3.11.3' \\\n    --hash=sha256:a\n"
        "always==2 \\\n    --hash=sha256:b \\\n    --hash=sha256:c\n"
    )
    always = "always==2 \\\n    --hash=sha256:b \\\n    --hash=sha256:c\n"
    assert requirements_for(lock, "3.11.2") == "old==1 \\\n    --hash=sha256:a\n" + always
    assert requirements_for(lock, "3.11.14") == always


def test_the_filter_in_the_repository_is_the_one_that_is_made() -> None:
    assert json.loads((ROOT / "deploy/seccomp.json").read_text(encoding="utf-8")) == seccomp.profile()


def test_the_filter_allows_all_that_a_wall_and_its_tools_need() -> None:
    own = {"seccomp", "prctl", "capget", "capset", "pidfd_open", "pidfd_send_signal", "setresuid", "setresgid"}
    landlock = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
    with_arguments = {"socket", "personality"}
    wanted = STRICT | SHARED_MEMORY | seccomp.WALL | own | landlock
    assert wanted - with_arguments <= seccomp.allowed()
    assert {name for rule in rules() if rule.get("args") for name in rule["names"]} == with_arguments


def test_the_filter_allows_no_more_of_what_is_refused_to_tools_than_the_wall_needs() -> None:
    assert seccomp.allowed() & (REFUSED | ABSENT) == seccomp.WALL - {"clone"}
    known = set[str]().union(*(found.numbers for name in MACHINES if (found := machine(name))))
    assert known >= seccomp.WALL, "a misspelt name would be passed over in silence"
    assert "ptrace" not in seccomp.allowed() and "bpf" not in seccomp.allowed()


def test_what_the_filter_does_not_name_is_absent() -> None:
    profile = seccomp.profile()
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    # No 32-bit calls: their numbers mean other things.
    assert profile["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64"]
    vsock = [rule["args"] for rule in rules() if rule["names"] == ["socket"]]
    assert vsock == [[{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]]


def rules() -> list[dict[str, Any]]:
    found = seccomp.profile()["syscalls"]
    assert isinstance(found, list)
    return found
