"""What people read of an examination: one line for each finding, its remedy and what it is about below it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from queues.checkup import Finding, Level, counted
from workers.terminal import clean, console, say

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
_INDENT = " " * 9


def print_finding(finding: Finding) -> None:
    """The finding, readable in a log as well: nothing hangs on its colour."""
    line = Text(f"{finding.level.value:<9}", style=_STYLES[finding.level])
    line.append(f"{finding.subject}: ", style="default")
    line.append(clean(finding.text), style="dim" if finding.level is Level.OK else "default")
    console().print(line)
    for detail in finding.details:
        say(f"{_INDENT}- {' '.join(detail.split())}")
    if finding.remedy:
        say(f"{_INDENT}remedy: {finding.remedy}", style="cyan")


def print_verdict(findings: Sequence[Finding]) -> None:
    """How it looks as a whole."""
    numbers = {level: sum(finding.level is level for finding in findings) for level in Level}
    worst = worst_of(findings)
    words = f"{counted(numbers[Level.PROBLEM], 'problem')}, {counted(numbers[Level.WARNING], 'warning')}"
    say()
    say(words if worst is not Level.OK else "All is well.", style=_STYLES[worst])


def worst_of(findings: Sequence[Finding]) -> Level:
    """The worst level among the findings."""
    levels = [finding.level for finding in findings]
    return max(levels, key=list(Level).index, default=Level.OK)
