"""What the demo tells at its end: answers, counts, times, and the processes with their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agent_core.run import RunOutput
from agent_core.tools.execution import CallMetrics, CallOutcome
from workers.demo.board import RunView
from workers.demo.prompts import Prompt
from workers.terminal import say

_ANSWER_LINES = 8
_PAGE = 1024.0


def tell_answers(prompts: Sequence[Prompt], views: Sequence[RunView], outputs: Sequence[RunOutput]) -> None:
    """Each prompt with what it was there to show and its answer, long ones cut."""
    for number, (prompt, view, output) in enumerate(zip(prompts, views, outputs, strict=True), start=1):
        say()
        pauses = f"{view.pauses} pause{'' if view.pauses == 1 else 's'}"
        say(f"[{number}] {prompt.text}   ({prompt.shows}; {pauses})", style="bold")
        lines = str(output.content if output.content is not None else output.error or output.status).splitlines()
        for line in lines[:_ANSWER_LINES]:
            say(f"    {line}")
        if len(lines) > _ANSWER_LINES:
            say(f"    … {len(lines) - _ANSWER_LINES} more lines")


def tell_summary(views: Sequence[RunView], outputs: Sequence[RunOutput], pids: Mapping[str, int]) -> None:
    """Counts, times and processes; every figure is from the runs' own records or the system's."""
    calls = [call for output in outputs for call in output.tools]
    metrics = [call.metrics for call in calls if call.metrics is not None and call.metrics.pool is not None]
    failed = sum(call.outcome is not CallOutcome.SUCCEEDED for call in calls)
    say()
    say(
        f"{len(outputs)} runs, {len(calls)} calls ({failed} failed), {len(metrics)} of them in pools, "
        f"{sum(view.pauses for view in views)} pauses"
    )
    say(f"sandbox level   {', '.join(sorted({str(metric.sandbox_level) for metric in metrics})) or 'none used'}")
    say(f"queue wait      {_range([metric.queue_wait_seconds for metric in metrics])}")
    say(f"executing       {_range([metric.wall_seconds for metric in metrics])}")
    say(f"whole runs      {_range([view.took_seconds for view in views])}")
    say(f"peak memory     {_peak(metrics)} in one sandboxed call")
    for name, pid in pids.items():
        say(f"process         {name} ({pid}): {_resident_mb(pid)}")


def _range(durations: Sequence[float | None]) -> str:
    known = sorted(duration for duration in durations if duration is not None)
    if not known:
        return "not measured"
    return f"{known[0]:.3f} to {known[-1]:.3f} s, half of them within {known[len(known) // 2]:.3f} s"


def _peak(metrics: Sequence[CallMetrics]) -> str:
    known = [metric.peak_memory_mb for metric in metrics if metric.peak_memory_mb is not None]
    return f"up to {max(known):.0f} MB" if known else "not measured"


def _resident_mb(pid: int) -> str:
    """The memory that the process holds now, where the system tells it in /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return "running"
    resident = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return f"{int(resident) / _PAGE:.0f} MB" if resident is not None else "running"
