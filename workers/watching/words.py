"""What came of one delivery, in words for people: those of agent workers and of tool workers. Never holds a payload,
unless a pool opted in; knows no broker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Self, assert_never

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution

_MOST_KINDS_OF_CALLS = 8
_SHOWN_CHARACTERS = 200
_COPY = "nothing to do, a duplicate or late message"


class Kind(StrEnum):
    """How a delivery ended. The value is the event of Celery's that tells it, and with it the state in Flower.

    Only the last two of them say nothing of what the delivery was for: they leave a better known state as it is.
    """

    SUCCEEDED = "task-succeeded"  # SUCCESS
    FAILED = "task-failed"  # FAILURE
    AGAIN = "task-retried"  # RETRY: it came too early, or is tried once more
    PAUSED = "task-paused"  # PAUSED, which Celery does not have, but all that listens to its events takes
    CANCELLED = "task-cancelled"  # CANCELLED, likewise
    COPY = "task-revoked"  # REVOKED, unless it is known how the first delivery ended
    ELSEWHERE = "task-rejected"  # stays STARTED: another worker is at it


class Word(str):
    """What came of a delivery in a word, which is all that the code compares; people are `shown` more.

    `arguments` are those of a tool call whose pool opted in, short and without its secrets.
    """

    kind: Kind
    shown: str
    arguments: str

    def __new__(cls, word: str, kind: Kind, shown: str = "", *, arguments: str = "") -> Self:
        made = super().__new__(cls, word)
        made.kind, made.shown, made.arguments = kind, shown or word, arguments
        return made


def of_stretch(output: RunOutput, pending: Sequence[ToolExecution]) -> Word:
    """How a run was left: which calls it waits for, or its end with a reason that quotes nobody."""
    status = output.status
    match status:
        case RunStatus.PAUSED:
            return Word(text := f"{status.value} for {_awaited(pending)}", Kind.PAUSED, text)
        case RunStatus.COMPLETED:
            return Word(status.value, Kind.SUCCEEDED)
        case RunStatus.CANCELLED:
            return Word(status.value, Kind.CANCELLED)
        case RunStatus.ERROR:
            return Word(status.value, Kind.FAILED, f"{status.value}: {_reason(output.error or '')}")
        case RunStatus.PENDING | RunStatus.RUNNING:
            return Word(status.value, Kind.ELSEWHERE)
    assert_never(status)


def _awaited(pending: Sequence[ToolExecution]) -> str:
    """Each kind of call once, as in `run_command (shell) 3 times`."""
    counted = Counter(f"{call.tool_name} ({_from_whom(call)})" for call in pending if call.is_paused)
    kinds = [kind if count == 1 else f"{kind} {count} times" for kind, count in counted.items()]
    more = len(kinds) - _MOST_KINDS_OF_CALLS
    return ", ".join(kinds[:_MOST_KINDS_OF_CALLS]) + (f" and {more} other tools" if more > 0 else "")


def _from_whom(call: ToolExecution) -> str:
    if call.requires_approval or call.requires_confirmation:
        return "approval"
    if call.requires_user_input:
        return "a person's input"
    return call.pool or "a person"


def _reason(error: str) -> str:
    """The head of our own sentences. What a model or a tool said may quote anything, so it is not shown."""
    head, _, rest = error.partition(": ")
    if head in ("expired", "buried"):
        return head
    if head == "The run cannot go on" and (name := rest.partition(":")[0]).isidentifier():
        return f"cannot go on, {name}; `errandry show RUN` says more"
    return "no usable reply of the model; `errandry show RUN` says more"


def of_refused_run(refusal: str, *, is_early: bool) -> Word:
    """Why a run was not claimed. A hint `is_early` if calls of the very step that it tells of have no answer yet."""
    match refusal:
        case "waiting" if is_early:
            return Word(refusal, Kind.AGAIN, "waiting: other calls of this step have no answer yet")
        case "held":
            return Word(refusal, Kind.ELSEWHERE, "held: another worker carries the run on")
        case "poisonous":
            return Word(refusal, Kind.FAILED, "poisonous: three workers died while they held the run")
        case "unreadable":
            return Word(refusal, Kind.AGAIN, "unreadable: parked for a worker of a newer release")
        case _:
            text = {
                "waiting": "the run has paused since",
                "finished": "the run has ended",
                "missing": "there is no such run (any more)",
            }
            return Word(refusal, Kind.COPY, f"{_COPY}: {text.get(refusal, refusal)}")


def of_refused_call(refusal: str) -> Word:
    """Why a call was not claimed, or must not begin."""
    match refusal:
        case "held" | "lost":
            return Word(refusal, Kind.ELSEWHERE, f"{refusal}: another worker has the call")
        case "backing_off":
            return Word(refusal, Kind.AGAIN, "backing off: its next try is not due yet")
        case "cancelled":
            return Word(refusal, Kind.CANCELLED)
        case "buried":
            return Word(refusal, Kind.FAILED, "buried: three workers died while they executed the call")
        case _:
            text = {"settled": "the call has its answer", "missing": "there is no such call (any more)"}
            return Word(refusal, Kind.COPY, f"{_COPY}: {text.get(refusal, refusal)}")


def of_settled(
    outcome: CallOutcome, verdict: str, *, attempt: str = "", status: str = "", result: str = "", arguments: str = ""
) -> Word:
    """What came of a call that was executed: `verdict` is that of the settling script, `status` says more of a failure.

    `result` and `arguments` are given only where the pool opted in; of both the beginning is shown.
    """
    text = f"{outcome}{f' ({status})' if status else ''}{f', {attempt}' if attempt else ''}".replace("_", " ")
    details = f": {first_of(result)}" if result else ""
    arguments = first_of(arguments)
    if verdict == "retry":
        return Word(verdict, Kind.AGAIN, f"{text}, is tried again{details}", arguments=arguments)
    if verdict not in ("settled", "last"):
        return Word(verdict, Kind.FAILED, f"{text}, but its answer was refused as {verdict}", arguments=arguments)
    match outcome:
        case CallOutcome.SUCCEEDED:
            kind = Kind.SUCCEEDED
        case CallOutcome.CANCELLED:
            kind = Kind.CANCELLED
        case CallOutcome.FAILED | CallOutcome.TIMED_OUT | CallOutcome.LOST | CallOutcome.EXPIRED | CallOutcome.DENIED:
            kind = Kind.FAILED
        case _:
            assert_never(outcome)
    return Word(outcome.value, kind, f"{text}{details}", arguments=arguments)


def first_of(text: str) -> str:
    """The beginning of a text on one line, without what steers or hides."""
    line = " ".join(text[: 4 * _SHOWN_CHARACTERS].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    is_cut = len(line) > _SHOWN_CHARACTERS or len(text) > 4 * _SHOWN_CHARACTERS
    return f"{line[:_SHOWN_CHARACTERS]} …" if is_cut else line
