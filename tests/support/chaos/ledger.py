"""What was truly executed, written down outside Redis by the tools themselves; the referee of all fault tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Execution:
    """One execution of a call: its idempotency key, the argument it was given, and the process that it had."""

    key: str
    word: str
    pid: int


class Ledger:
    """The file and what stands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        path.chmod(0o666)  # tools of a root worker run as nobody

    def executions(self) -> list[Execution]:
        """Every execution so far, in order."""
        rows = (line.split("\t") for line in self.path.read_text().splitlines())
        return [Execution(key, word, int(pid)) for key, word, pid in rows]

    def counts(self) -> Counter[str]:
        """How often each call was executed, by its idempotency key."""
        return Counter(execution.key for execution in self.executions())

    def of_word(self, word: str) -> list[Execution]:
        """The executions with that argument."""
        return [execution for execution in self.executions() if execution.word == word]
