"""What the command `up` does: everything runs until a signal, with each process's lines in one terminal.

Never ends before what it started has ended.
"""

from __future__ import annotations

import os
import sys

from queues.settings import Settings
from workers.processes import lines_to
from workers.stopping import Stopped, stopping_on_signals
from workers.terminal import say
from workers.up import ModelServerChoice, Running, has_endpoint, running


def run_up(
    settings: Settings, *, flower_port: int | None, gateway_port: int | None, drain_seconds: float | None
) -> int:
    """Run the project until Ctrl-C or SIGTERM; returns 0 after an orderly end."""
    model = _model_server(settings)
    try:
        with (
            stopping_on_signals(),
            running(
                settings,
                on_line=lines_to(sys.stdout),
                flower_port=flower_port,
                gateway_port=gateway_port,
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
    if project.gateway_url is not None:
        say(f"Gateway: {project.gateway_url}")
    say(f"Submit runs from another terminal in {project.settings.project_dir}; Ctrl-C stops everything.")


def _model_server(settings: Settings) -> ModelServerChoice | None:
    """The scripted model if there is no key for a real one, and a script to play."""
    script = settings.model_script_file
    if has_endpoint(os.environ):
        return None
    if script is None:
        say("OPENAI_API_KEY is not set: agents that need it will end their runs in ERROR.")
        return None
    say(f"The model is scripted, because OPENAI_API_KEY is not set: it plays the rules of {script}.")
    return ModelServerChoice(script=script)
