"""What can go wrong with a benchmark, beside what goes wrong in the runs themselves."""

from __future__ import annotations

from agent_core.errors import ErrandryError


class BenchError(ErrandryError):
    """A benchmark cannot be carried out; the sentence says which part of it failed."""


class BenchFileError(BenchError):
    """A file of figures cannot be read, written or understood."""
