"""How the demo looks: a live table on a terminal, one plain line per event in a pipe.

Never asks a queue or a process for anything; it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.live import Live
from rich.table import Table
from rich.text import Text

from agent_core.events import RunEvent
from workers.demo.board import RunView
from workers.showing.events import event_words
from workers.terminal import clean, console, say

_STATE_STYLES = (
    ("ERROR", "bold red"),
    ("failed", "red"),
    ("succeeded", "green"),
    ("completed", "bold green"),
    ("executing", "cyan"),
    ("with the model", "magenta"),
    ("continued", "magenta"),
    ("paused", "yellow"),
)


class Screen:
    """Shows the runs while they go on, between `with` and its end."""

    def __init__(self, views: Sequence[RunView]) -> None:
        self._views = views
        self._live = Live(console=console(), auto_refresh=False) if console().is_terminal else None

    def showing(self) -> AbstractContextManager[object]:
        """The time in which the terminal's lower part is a live table."""
        return self._live if self._live is not None else nullcontext()

    def update(self, number: int, event: RunEvent) -> None:
        """Show what an event (of the run of this number, from 1 on) has changed."""
        if self._live is not None:
            self._live.update(table_of(self._views), refresh=True)
            return
        words = event_words(event)
        if words is not None:
            elapsed = (event.created_at - self._views[number - 1].submitted_at).total_seconds()
            say(f"[{number}] {max(0.0, elapsed):6.2f} s  {words}")


def table_of(views: Sequence[RunView]) -> Table:
    """All runs with their calls below them, as they stand."""
    table = Table(expand=False, show_edge=False, pad_edge=False, header_style="bold")
    for heading in ("run", "where", "state"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    table.add_column("waited", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    for number, view in enumerate(views, start=1):
        place = "" if view.is_over else "queue agents" if view.state == "queued" else "agent worker"
        if view.state.startswith("paused"):
            place = "Redis"
        table.add_row(f"{number} {clean(view.prompt)}", place, _state(view.state), "", _seconds(view.took_seconds))
        for call in view.calls.values():
            table.add_row(
                f"    {clean(call.words)}",
                call.place,
                _state(call.state),
                _seconds(call.waited_seconds),
                _seconds(call.took_seconds),
                style="dim" if call.state == "succeeded" else None,
            )
    return table


def _state(state: str) -> Text:
    return Text(state, style=next((style for start, style in _STATE_STYLES if state.startswith(start)), "default"))


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.2f} s"
