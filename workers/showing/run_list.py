"""A list of runs: a line for each in a pipe, columns on a terminal. Ids are never cut, so they can be copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.text import Text

from agent_core.run import RunOutput
from workers.showing.amounts import age
from workers.showing.run import STYLES
from workers.terminal import clean, console, one_line, say

_STATUS_WIDTH = max(len(status.value) for status in STYLES)
_AGENT_WIDTH = 16
_LEAST_INPUT = 16  # columns; with less of it left beside the id, a run takes two lines


def print_runs(
    outputs: Sequence[RunOutput], *, waits_for: Mapping[str, str] | None = None, now: datetime | None = None
) -> None:
    """The runs, each with what it waits for, by its id, where it is paused."""
    now = now or datetime.now(UTC)
    width = max((len(output.run_id) for output in outputs), default=0)
    for output in outputs:
        details = Text().append(f"{output.status.value:<{_STATUS_WIDTH}}", style=STYLES[output.status])
        details.append(f"  {clean(output.agent_name):<{_AGENT_WIDTH}}  ")
        details.append(f"{age((now - output.created_at).total_seconds()):>5}  ")
        awaited = (waits_for or {}).get(output.run_id)
        if awaited:
            details.append(f"waits for {clean(awaited)}: ", style="yellow")
        room = console().width - width - 2
        is_narrow = console().is_terminal and room < _STATUS_WIDTH + _AGENT_WIDTH + 11 + _LEAST_INPUT
        details.append(clean(one_line(output.input)))
        if is_narrow:
            details = Text("  ") + details
            room = console().width
        if console().is_terminal:
            details.truncate(room, overflow="ellipsis")
        console().print(Text(f"{output.run_id}\n" if is_narrow else f"{output.run_id:<{width}}  ") + details)
    if not outputs:
        say("no runs")
