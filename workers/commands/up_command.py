"""What the command `up` does: everything runs until a signal, with each process's lines in one terminal.

Never ends before what it started has ended.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from queues.settings import Settings
from workers.processes import lines_to
from workers.stopping import Stopped, stopping_on_signals
from workers.terminal import say
from workers.up import ModelServerChoice, Running, running


def run_up(settings: Settings, *, scripted_model: Path | None, flower_port: int | None, drain_seconds: float) -> int:
    """Run the project until Ctrl-C or SIGTERM; returns 0 after an orderly end."""
    model = ModelServerChoice(script=scripted_model) if scripted_model is not None else None
    if model is not None:
        say(f"The model is scripted: {scripted_model} answers in its place, and no key is used.")
    elif not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        say("OPENAI_API_KEY is not set: agents that need it will end their runs in ERROR. --scripted-model needs none.")
    try:
        with (
            stopping_on_signals(),
            running(
                settings,
                on_line=lines_to(sys.stdout),
                flower_port=flower_port,
                model=model,
                drain_seconds=drain_seconds,
            ) as project,
        ):
            _tell(project)
            project.supervise()
    except Stopped:
        say("Everything has stopped.")
    return 0


def _tell(project: Running) -> None:
    say(f"Up: {', '.join(project.pids())}.", style="green")
    if project.flower_url is not None:
        say(f"Flower: {project.flower_url}")
    say(f"Submit runs from another terminal in {project.settings.project_dir}; Ctrl-C stops everything.")
