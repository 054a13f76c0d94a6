"""Which payloads there are and what is wrong with what came of one: the table of the hostile suite.

It reads the payloads' names from their text and never imports them, but for the list of bare system calls.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.hostile.expectations import (
    BARE,
    GAPS,
    HONEST_WORDS,
    JUDGES,
    LONG_ANSWERS,
    NO_ANSWER,
    RAW_ANSWERS,
    THEN,
    TIMEOUTS,
    Judge,
    Observed,
    contained,
    ends,
)
from tests.support.hostile.kernel import CALLS

FAMILIES = {
    "files": ("files", "writing", "mounting"),
    "network": ("network",),
    "processes": ("processes", "outliving"),
    "resources": ("resources", "memory", "storage"),
    "kernel": ("kernel", "privileges"),
    "protocol": ("protocol", "endings"),
    "contamination": ("contamination",),
    "secrecy": ("secrecy",),
    "controls": ("controls",),
}
LIMITS = {
    "memory_mb": 128,
    "pids": 24,
    "cpu_seconds": 1,
    # No payload is to reach it: what spins needs a while for its second of CPU time on a machine that is busy.
    "wall_seconds": 40,
    "output_kb": 64,
    "disk_mb": 8,
    "inodes": 2000,
}


@dataclass(frozen=True)
class Row:
    """One payload: its tool, its arguments, what may come of it, and who looks afterwards."""

    name: str
    family: str
    tool: str
    judge: Judge = contained
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float | None = None
    then: str = ""
    bare: str = ""  # without a wall it succeeds: for "everybody", for the "same user", for "root"
    gaps: Mapping[str, str] = field(default_factory=dict)  # level -> what is known not to hold there, and why


def problems(row: Row, seen: Observed) -> list[str]:
    """What is wrong with what came of a payload; an empty list if the wall held."""
    if "error" in seen:
        return [f"the sandbox raised {seen['error']}"]
    found = [words] if (words := row.judge(seen)) else []
    if row.then:
        first = set(json.loads(seen["content"])) if seen["content"].startswith("[") else set()
        shared = first & set(json.loads(seen["then"]["content"])) if first else seen["then"]["content"] != "[]"
        found += ["the next call found something of it"] if shared else []
    found += ["a secret came out"] if seen["secret"] else []
    allowed_seconds = (row.timeout_seconds or LIMITS["wall_seconds"]) + 10
    found += ["the call took too long"] if seen["wall_seconds"] > allowed_seconds else []
    # The kernel ends it at the limit; a watcher looks every 30 ms, and several processes take a lot in that time.
    most_mb = LIMITS["memory_mb"] * (4 if seen["cgroup"] == "watch" else 1)
    found += ["it took too much memory"] if (seen["peak_memory_mb"] or 0) > most_mb else []
    found += [f"the next call did not work: {seen['next'][:300]}"] if seen["next"] != HONEST_WORDS else []
    return [*found, *seen["harm"]]


def tools() -> list[str]:
    """The import strings of all payloads."""
    found = []
    for module in [module for modules in FAMILIES.values() for module in modules]:
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and [
                argument.arg for argument in node.args.args
            ][:1] == ["targets"]:
                found.append(f"tests.support.hostile.{module}:{node.name}")
    return found


def rows() -> list[Row]:
    """Every payload of the suite."""
    second_halves = {
        *THEN.values(),
        "call_by_number",
        "answer_raw",
        "answer_bytes",
        "close_the_request_early",
        "tell_the_user",
        "wait_for_a_while",
    } - {*THEN}
    found = []
    for tool in tools():
        module, name = tool.rpartition(".")[2].split(":")
        family = next(family for family, modules in FAMILIES.items() if module in modules)
        if name in second_halves:
            continue
        judge = JUDGES.get(name, ends("succeeded", exactly="left") if name in THEN else contained)
        found.append(
            Row(
                name,
                family,
                name,
                judge,
                timeout_seconds=TIMEOUTS.get(name),
                then=THEN.get(name, ""),
                bare=BARE.get(name, ""),
                gaps=GAPS.get(name, {}),
            )
        )
    for name, (number, arguments) in CALLS.items():
        found.append(Row(name, "kernel", "call_by_number", arguments={"number": number, "arguments": arguments}))
    for name, raw in RAW_ANSWERS.items():
        found.append(Row(f"answer_{name}", "protocol", "answer_raw", NO_ANSWER, arguments={"raw": raw}))
    for name, piece in LONG_ANSWERS.items():
        found.append(Row(f"answer_{name}", "protocol", "answer_bytes", NO_ANSWER, arguments=piece))
    padding = {"padding": "x" * 900_000}
    found.append(
        Row("a_large_request", "protocol", "close_the_request_early", ends(exactly="900000"), arguments=padding)
    )
    return found
