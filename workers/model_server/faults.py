"""Faults on request: what they are called, how they are written, and how often each still has to happen.

Never decides which request meets a fault, and never carries one out; rules, callers and the HTTP face do.

A fault is written as one line, `kind;parameter=value;...`, alike in a script (`fault = "..."`), in the HTTP header
`X-Errandry-Fault` and in the request's body (`extra_body={"errandry_fault": "..."}`):

    rate_limit;times=2;retry_after=0.5     429 with Retry-After, for the first two requests
    server_error                           500
    disconnect                             the connection is closed before any answer
    disconnect_midstream                   the connection is closed half-way through the answer
    truncate                               the answer ends half-way, in good order, without finish_reason and [DONE]
    malformed_arguments                    the arguments of the tool calls are no JSON
    unknown_tool;tool=launch               the first tool call names a tool that nobody offered
    slow;seconds=2                         the answer comes late
    stall;seconds=2                        a streamed answer stops half-way for so long; a whole one comes late
    content_filter                         the answer is withheld with finish_reason "content_filter"

`times=N` makes the fault happen to the first N requests only, so that a retry then succeeds. Requests are counted per
`key=`; without it per rule, or per line where a caller asked.
"""

import threading
from collections import Counter
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.model_server.errors import FaultError


class FaultKind(StrEnum):
    """Every way in which this server can fail on purpose."""

    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    DISCONNECT = "disconnect"
    DISCONNECT_MIDSTREAM = "disconnect_midstream"
    TRUNCATE = "truncate"
    MALFORMED_ARGUMENTS = "malformed_arguments"
    UNKNOWN_TOOL = "unknown_tool"
    SLOW = "slow"
    STALL = "stall"
    CONTENT_FILTER = "content_filter"


class Fault(BaseModel):
    """One fault as asked for; read it from its line with `Fault.parse`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    times: int | None = Field(default=None, ge=1)
    key: str | None = None
    seconds: float = Field(default=1.0, ge=0, le=600)
    retry_after: float = Field(default=1.0, ge=0)
    tool: str = "no_such_tool"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read `kind;parameter=value;...`; raises FaultError with a sentence that names what is not understood."""
        kind, *parameters = (part.strip() for part in line.split(";"))
        if kind not in set(FaultKind):
            known = ", ".join(FaultKind)
            raise FaultError(f"Unknown fault {kind!r} in {line!r}; the faults are: {known}.")
        values: dict[str, str] = {}
        for parameter in filter(None, parameters):
            name, equals, value = parameter.partition("=")
            if not equals or name.strip() not in cls.model_fields or name.strip() == "kind":
                known = ", ".join(field for field in cls.model_fields if field != "kind")
                raise FaultError(f"{parameter!r} in the fault {line!r} is no parameter=value; there are: {known}.")
            values[name.strip()] = value.strip()
        try:
            return cls.model_validate({"kind": kind, **values})
        except ValidationError as error:
            first = error.errors()[0]
            raise FaultError(f"The fault {line!r} has a bad {first['loc'][0]}: {first['msg']}.") from error


class FaultCounter:
    """Counts how often each fault has happened; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._happened: Counter[str] = Counter()

    def due(self, fault: Fault | None, *, key: str) -> Fault | None:
        """Give the fault back if it must happen now, and count it; `None` once it has happened `times` times."""
        if fault is None or fault.times is None:
            return fault
        with self._lock:
            if self._happened[fault.key or key] >= fault.times:
                return None
            self._happened[fault.key or key] += 1
            return fault
