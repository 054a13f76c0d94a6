"""Every Redis key, one function each; holds no command and reads nothing.

Keys of one run carry its id as hash tag, so that they share a slot. What a pool may touch starts with
`errandry:part:<pool>:`, so that one key pattern fences a pool's credential in.
"""

from __future__ import annotations

# Indexes of the trusted side. Sorted sets are scored in server milliseconds.
RUN_PREFIX = "errandry:run:"  # of the hash of each run
RUNS = "errandry:runs"  # run_id -> created; trimmed by the sweep as runs expire
DUE = "errandry:due"  # run_id -> when the sweep should look at it
DEADLINES = "errandry:deadlines"  # run_id -> when it expires unless it has ended
UNAPPROVED = "errandry:unapproved"  # call that waits for approval -> when that is refused for want of an answer
EXPIRING = "errandry:expiring"  # run_id of an ended run -> when Redis lets go of it
WEBHOOKS = "errandry:webhooks"  # announcement of a run's end or pause -> when it is to be posted (again)
WEBHOOKS_WAKE = "errandry:webhooks:wake"  # list: one word once there is something to post, for a gateway that waits
DEAD = "errandry:dead"  # id of a dead letter -> buried
DEAD_LETTERS = "errandry:dead:letters"  # hash: id of a dead letter -> what it is and why (JSON)
REFUSED = "errandry:refused"  # list: letters of messages that agent workers refused, until the sweep collects them
AGENTS = "errandry:agents"  # hash: agent name -> announced until
STATES = "errandry:states"  # hash: how many runs are in a status, ended in one, were submitted; see answered_without
COUNTS = "errandry:counts"  # hash: what agent workers and gateways have counted, see counting.py
TOOLS = "errandry:tools"  # hash: tool name -> <announced until> and which pool executes it by what rules (JSON)

# What producers may touch, by name and by beginning: runs with what belongs to them, but no sessions.
PRODUCERS_KEYS = (RUNS, DUE, DEADLINES, UNAPPROVED, EXPIRING, DEAD, DEAD_LETTERS, WEBHOOKS, WEBHOOKS_WAKE)
PRODUCERS_PREFIXES = (
    RUN_PREFIX,
    "errandry:events:",
    "errandry:people:",
    "errandry:approvals:",
    "errandry:idempotency:",
    "errandry:part:",
)


def run(run_id: str) -> str:
    """Hash: the snapshot and who holds it."""
    return f"{RUN_PREFIX}{{{run_id}}}"


def events(run_id: str) -> str:
    """Stream: what a reader of the run sees, written by the trusted side."""
    return f"errandry:events:{{{run_id}}}"


def people(run_id: str, step: int) -> str:
    """Hash: the calls of one step that wait for a person."""
    return f"errandry:people:{{{run_id}}}:{step}"


def approvals(pool: str, run_id: str, step: int) -> str:
    """Hash: the calls of one step that a pool executes once a person has approved them; no pool may touch it."""
    return f"errandry:approvals:{pool}:{{{run_id}}}:{step}"


def is_for_people(part_key: str) -> bool:
    """Whether people answer the calls that lie there, be it only to let a pool execute them."""
    return not part_key.startswith(part_prefix("").removesuffix(":"))


def idempotency(key: str) -> str:
    """String: the run that a producer's idempotency key stands for."""
    return f"errandry:idempotency:{key}"


def session(session_id: str) -> str:
    """Sorted set: run_id -> finished, the completed runs of a session."""
    return f"errandry:session:{session_id}"


def answered_without(pool: str, outcome: str) -> str:
    """Field of `STATES`: how many calls of a pool were answered so without it, because people did not let it."""
    return f"{outcome}:{pool}"


def counts(pool: str | None) -> str:
    """Hash: what a pool's workers (None: agent workers and gateways) have counted."""
    return COUNTS if pool is None else f"{part_prefix(pool)}counts"


def counted(pool: str | None, process: str) -> str:
    """Hash, kept for a while: how far a process of theirs has told what it counted."""
    return f"{counts(pool)}:{process}"


def part_prefix(pool: str) -> str:
    """How all keys begin that a pool's workers may touch."""
    return f"errandry:part:{pool}:"


def part(pool: str, run_id: str, step: int) -> str:
    """Hash: the calls of one step that one pool executes, with their answers."""
    return f"{part_prefix(pool)}{{{run_id}}}:{step}"


def part_events(pool: str, run_id: str) -> str:
    """Stream: what the pool's workers tell of a run's calls."""
    return f"{part_prefix(pool)}{{{run_id}}}:events"


def pool_due(pool: str) -> str:
    """Sorted set: call -> when the sweep should look at it."""
    return f"{part_prefix(pool)}due"


def refused(pool: str | None) -> str:
    """List: letters of messages that a pool's workers (None: agent workers) refused; the sweep collects them."""
    return REFUSED if pool is None else f"{part_prefix(pool)}refused"


def pool_workers(pool: str) -> str:
    """Stream: what the pool's workers say of themselves, trimmed to what is still valid."""
    return f"{part_prefix(pool)}workers"
