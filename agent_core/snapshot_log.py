"""Splits a snapshot for stores that append: a head that each save writes anew, and a log of what changes no more.

Messages, the calls of closed steps and the input stay as they are once they are there; a conversation of hundreds of
messages would otherwise be written again with each of its steps. Never stores anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent_core.errors import SnapshotSchemaError
from agent_core.messages import Message
from agent_core.run import HEAD_SCHEMA, SNAPSHOT_SCHEMA, Logged, RunSnapshot
from agent_core.tools.execution import ToolExecution

HEAD_BYTES = 4096
"""So long a snapshot may become before what has settled in it goes to the log: short runs never have one."""


class LogPart(BaseModel):
    """What a save adds to the log of a run."""

    model_config = ConfigDict(frozen=True)

    input: str = ""
    messages: list[Message] = Field(default_factory=list)
    tools: list[ToolExecution] = Field(default_factory=list)
    shown: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot to be written: the head, and the log in short: how many parts it has, then the last one if it is new.

    The same snapshot gives the same text each time, as long as `logged` was not written on it: that is done once the
    store has it.
    """

    head: str
    log: str
    logged: Logged | None


def split(snapshot: RunSnapshot) -> StoredSnapshot:
    """Return what to write of a snapshot whose `logged` says what its log holds already."""
    head = _head(snapshot, snapshot.logged)
    if len(head) <= HEAD_BYTES:
        return StoredSnapshot(head, _parts(snapshot.logged), snapshot.logged)
    grown, part = _grown(snapshot, snapshot.logged or Logged())
    if part == LogPart():
        return StoredSnapshot(head, _parts(snapshot.logged), snapshot.logged)
    text = part.model_dump_json(exclude_defaults=True, exclude_none=True)
    return StoredSnapshot(_head(snapshot, grown), f"{_parts(grown)} {text}", grown)


def join(head: str | bytes, log: Sequence[str | bytes | None]) -> RunSnapshot:
    """Return the snapshot again; `SnapshotSchemaError` if a newer release wrote it, or head and log do not fit."""
    snapshot = RunSnapshot.from_json(head, log_parts=len(log))
    if snapshot.logged is None:
        return snapshot
    parts = [_read(part) for part in log]
    output = snapshot.output
    before = Logged(
        parts=len(parts),
        messages=sum(len(part.messages) for part in parts),
        tools=sum(len(part.tools) for part in parts),
        shown=sum(len(part.shown) for part in parts),
    )
    if before != snapshot.logged or not parts:
        raise SnapshotSchemaError(
            f"The log of this run holds {before}, and its snapshot begins after {snapshot.logged}."
        )
    output.input = parts[0].input
    output.messages[:0] = [message for part in parts for message in part.messages]
    output.tools[:0] = [call for part in parts for call in part.tools]
    snapshot.shown[:0] = [text for part in parts for text in part.shown]
    snapshot.schema_number = SNAPSHOT_SCHEMA
    return snapshot


def _parts(logged: Logged | None) -> str:
    return str(logged.parts if logged is not None else 0)


def _head(snapshot: RunSnapshot, logged: Logged | None) -> str:
    if logged is None:
        return snapshot.to_json()
    output = snapshot.output
    rest = {"input": "", "messages": output.messages[logged.messages :], "tools": output.tools[logged.tools :]}
    head = {
        "schema_number": HEAD_SCHEMA,
        "logged": logged,
        "shown": snapshot.shown[logged.shown :],
        "output": output.model_copy(update=rest),
    }
    return snapshot.model_copy(update=head).to_json()


def _grown(snapshot: RunSnapshot, logged: Logged) -> tuple[Logged, LogPart]:
    """What the log holds once it has all that has settled, and the part that it grows by."""
    output, shown = snapshot.output, snapshot.shown
    # A finished run's last step is closed, too, but is not worth a part of its own.
    closed = sum(1 for call in output.tools if call.step < snapshot.step)
    part = LogPart(
        input="" if logged.parts else output.input,
        messages=output.messages[logged.messages :],
        tools=output.tools[logged.tools : closed],
        shown=shown[logged.shown :],
    )
    grown = Logged(parts=logged.parts + 1, messages=len(output.messages), tools=closed, shown=len(shown))
    return grown, part


def _read(part: str | bytes | None) -> LogPart:
    if part is None:
        raise SnapshotSchemaError("A part of this run's log is missing.")
    try:
        return LogPart.model_validate_json(part)
    except ValidationError as error:
        raise SnapshotSchemaError(f"This is no part of a run's log: {error}") from error
