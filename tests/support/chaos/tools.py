"""The tools of the chaos project: each notes outside Redis that it was executed, and returns a token of its word.

The ledger is a file that is only ever appended to, one line per execution, so that it survives every kill. It is the
one thing outside that the pools' sandboxes let their tools write.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
import zlib

from agent_core.tools import tool
from agent_core.tools.context import RunContext

LEDGER = "CHAOS_LEDGER"
_PR_SET_NAME = 15
_libc = ctypes.CDLL(None)
_KEY = "ERRANDRY_IDEMPOTENCY_KEY"


def token(word: str) -> str:
    """What a tool returns for a word: nothing but the right call can have this result."""
    return hashlib.sha256(word.encode()).hexdigest()[:16]


def name_of_executions(ledger: str) -> str:
    """What processes, and threads, are called that execute a tool of the fleet with that ledger."""
    return f"tool-{zlib.crc32(ledger.encode()):08x}"


def _executed(word: str, seconds: float, key: str) -> str:
    _libc.prctl(_PR_SET_NAME, name_of_executions(os.environ[LEDGER]).encode())
    # One write of one line to a file opened with O_APPEND: lines of several processes never mix.
    line = f"{key}\t{word}\t{os.getpid()}\n"
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)
    time.sleep(seconds)
    return token(word)


@tool(external_execution=True)
def write_letter(word: str, seconds: float) -> str:
    """Do something that must not be done twice."""
    return _executed(word, seconds, os.environ[_KEY])


@tool(external_execution=True)
def weigh(word: str, seconds: float) -> str:
    """Do something else that must not be done twice, in another pool."""
    return _executed(word, seconds, os.environ[_KEY])


@tool(external_execution=True, on_lost="retry", max_attempts=5, backoff_seconds=0.1)
def fetch_page(word: str, seconds: float) -> str:
    """Do something that may be repeated."""
    return _executed(word, seconds, os.environ[_KEY])


@tool(external_execution=True, max_attempts=2, backoff_seconds=0.1)
def trip(word: str, seconds: float) -> str:
    """Fail, each time."""
    raise ValueError(f"tripped over {_executed(word, seconds, os.environ[_KEY])}")


@tool
def jot(word: str, seconds: float, run_context: RunContext) -> str:
    """Do something within the agent worker that must not be done twice."""
    return _executed(word, seconds, run_context.idempotency_key)


@tool(external_execution=True)
def ask_person(word: str, seconds: float) -> str:
    """Ask a person, who answers with the token."""
    raise NotImplementedError
