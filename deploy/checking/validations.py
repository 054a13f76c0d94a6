"""What `deploy/check` does: sets the test environment up, runs all tests of deploy/, and says which tools had a look.

Imports nothing that this environment would have to hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.checking.transcript import say
from deploy.installation import Environment, SetupError, only_one_at_a_time

ROOT = Path(__file__).resolve().parents[2]
PASSED, FAILED, MISUSED, MISSING = 0, 1, 2, 3
_VERDICTS = {"failure": "failed", "error": "failed", "skipped": "skipped"}

DESCRIPTION = """\
Check the files of deploy/ with the tools that read them: Dockerfile, compose files, Helm chart, systemd units, alert
rules, dashboard. Starts nothing of Errandry but the systemd units, in namespaces of their own, where that can be done.
Sets the environment .venv up first, once, as `python3 deploy/bootstrap.py test` does.
"""
EPILOG = """\
exit codes:
  0   everything that was asked for was looked at, and nothing is wrong
  1   something is wrong; with --podman also: the stack does not work
  2   wrong usage, or the environment cannot be set up
  3   nothing is wrong, but a tool is missing, or tests were skipped (--allow-missing makes that 0)

examples:
  deploy/check                         all of it
  deploy/check -k chart                what follows goes to pytest
  deploy/check --allow-missing         on a machine without systemd or promtool
  deploy/check --podman                then build the image and run the compose stack for real (deploy/podman.py)
"""


@dataclass(frozen=True)
class Report:
    """What the tests came to: by file how many passed, failed and were skipped, and why the latter."""

    by_file: dict[str, Counter[str]]
    reasons: Counter[str]


def main(arguments: Sequence[str]) -> int:
    """Carry one command line out; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="deploy/check",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--allow-missing", action="store_true", help="a missing tool or a skipped test is no failure")
    parser.add_argument("--as-is", action="store_true", help="take .venv as it is, and set nothing up")
    parser.add_argument(
        "--podman", action="store_true", help="then, if all is well, build the image and run the stack for real"
    )
    options, for_pytest = parser.parse_known_args(arguments)
    python = ROOT / ".venv" / "bin" / "python"
    try:
        if not options.as_is:
            with only_one_at_a_time(ROOT) as lock:
                Environment(ROOT, lock=lock).prepare("test")
        elif not python.exists():
            raise SetupError(f"{python} is not there; leave --as-is out to have it made.")
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return MISUSED
    code = _validate(python, for_pytest, allow_missing=options.allow_missing)
    if code == PASSED and options.podman:
        sys.stdout.flush()
        os.execv(python, [str(python), str(ROOT / "deploy" / "podman.py")])
    return code


def _validate(python: Path, for_pytest: Sequence[str], *, allow_missing: bool) -> int:
    tools = json.loads(_answer(python, "-m", "deploy.checking.tools"))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        words = [str(python), "-m", "pytest", "tests/deploy", "--quiet", f"--junitxml={results}", *for_pytest]
        code = subprocess.call(words, cwd=ROOT)
        if not results.exists():
            say("\nThe tests could not be run; pytest has said why.")
            return MISUSED if code == 4 else FAILED
        report = read_results(results)
    missing = _tell_tools(tools)
    _tell_tests(report)
    if code:
        say("\nFAILED: something is wrong with the files of deploy/; see above.")
        return FAILED
    if missing or report.reasons:
        words_for = [f"not here: {', '.join(missing)}"] if missing else []
        words_for += [f"{report.reasons.total()} tests skipped"] if report.reasons else []
        say(f"\nNothing is wrong with what was looked at; {'; '.join(words_for)}.")
        return PASSED if allow_missing else MISSING
    # Words for pytest leave tests out (-k), and then nobody knows which tools were asked.
    looked = "nothing is wrong with what was asked for" if for_pytest else "every tool had a look, and nothing is wrong"
    say(f"\nPassed: {looked}.")
    return PASSED


def read_results(path: Path) -> Report:
    """What pytest wrote down."""
    by_file: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 - pytest's own, written a moment ago
        verdict = "passed"
        for part in case:
            verdict = _VERDICTS.get(part.tag, verdict)
            if part.tag == "skipped":
                reasons[part.get("message", "").partition("\n")[0]] += 1
        by_file.setdefault(case.get("classname", "").rpartition(".")[2], Counter())[verdict] += 1
    return Report(by_file, reasons)


def _tell_tools(tools: Sequence[dict[str, str | None]]) -> list[str]:
    say(f"\n{'tool':<24}{'looks at':<60}")
    for tool in tools:
        found = tool["found"] or f"MISSING ({tool['remedy']})"
        say(f"{tool['name']:<24}{tool['looks_at']:<60}{found}")
    return [str(tool["name"]) for tool in tools if tool["found"] is None]


def _tell_tests(report: Report) -> None:
    say(f"\n{'tests':<32}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for file, counts in sorted(report.by_file.items()):
        say(f"{file:<32}{counts['passed']:>8}{counts['failed']:>8}{counts['skipped']:>8}")
    for reason, times in report.reasons.most_common():
        say(f"skipped {times} x: {reason}")


def _answer(python: Path, *words: str) -> str:
    environment = dict(os.environ)
    with contextlib.suppress(KeyError):
        # What another environment has laid out must not answer for this one.
        del environment["PYTHONPATH"]
    return subprocess.run(
        [python, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
