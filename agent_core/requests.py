"""What the loop asks for, one class a request.

Never carries a request out: `agent_core.drive` does.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from agent_core.errors import ModelError
from agent_core.events import RunEvent
from agent_core.models.base import ModelRequest
from agent_core.run import RunSnapshot
from agent_core.tools.context import RunContext
from agent_core.tools.execution import CallResult, ToolExecution


@dataclass(frozen=True)
class Save:
    """Write the snapshot down, handing out the calls in `dispatch`; answered with the saved snapshot.

    `events` are what this save makes true. A journal may tell its readers in the same step; the driver yields the very
    same objects afterwards: what was told is stored.
    """

    snapshot: RunSnapshot
    dispatch: tuple[ToolExecution, ...] = ()
    events: tuple[RunEvent, ...] = ()


@dataclass(frozen=True)
class ReadHistory:
    """Answered with the last completed runs of the session, oldest first."""

    session_id: str
    limit: int


@dataclass(frozen=True)
class AskCancelled:
    """Answered with whether the run is to be cancelled."""

    run_id: str


@dataclass(frozen=True)
class ModelFailure:
    """The model gave no reply; `spoke` if part of one was streamed already, so that asking again would repeat it."""

    error: ModelError
    spoke: bool = False


@dataclass(frozen=True)
class CallModel:
    """Answered with a `ModelReply`, a `ModelFailure`, or None if the run was cancelled in the meantime."""

    request: ModelRequest
    run_id: str
    step: int
    agent: str
    on_content: Callable[[str], RunEvent]
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class CallTools:
    """Call each inline tool and report each result with `on_settled`, which returns its event; answered with None."""

    calls: tuple[ToolExecution, ...]
    contexts: Mapping[str, RunContext]
    on_settled: Callable[[ToolExecution, CallResult], RunEvent]


Request = Save | ReadHistory | AskCancelled | CallModel | CallTools
Steps = Generator[Request, Any, None]
