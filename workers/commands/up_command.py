"""What the command `up` does: everything runs until a signal, with each process's lines in one terminal.

Never ends before what it started has ended.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from queues.settings import Settings
from workers.commands.log_lines import Log, is_json, start_log
from workers.processes import lines_to
from workers.stopping import Stopped, stopping_on_signals
from workers.terminal import say
from workers.up import ModelServerChoice, Running, has_endpoint, running

_log = logging.getLogger("errandry")


def run_up(
    settings: Settings, *, flower_port: int | None, gateway_port: int | None, drain_seconds: float | None
) -> int:
    """Run the project until Ctrl-C or SIGTERM; returns 0 after an orderly end."""
    # Its own terminal shows this to a person; only who asks for JSON gets it.
    as_json = settings.log_format == "json"
    settings = settings.model_copy(update={"log_format": "json" if as_json else "text"})
    if as_json:
        start_log(Log("up", "up", "json"), stream=sys.stdout)
    model = _model_server(settings)
    try:
        with (
            stopping_on_signals(),
            running(
                settings,
                on_line=json_lines_to_log if as_json else lines_to(sys.stdout),
                flower_port=flower_port,
                gateway_port=gateway_port,
                model=model,
                drain_seconds=drain_seconds,
            ) as project,
        ):
            _tell(project)
            project.supervise()
    except Stopped:
        _say("Everything has stopped.")
    return 0


def json_lines_to_log(name: str, line: str) -> None:
    """A child's line as it is if it is JSON, else as the message of one."""
    if _is_object(line):
        _log.info("%s", name, extra={"ready_line": line})
    elif line.strip():
        _log.info("%s", line, extra={"fields": {"process": name}})


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _say(text: str, *, style: str = "default") -> None:
    if is_json():
        _log.info("%s", text)
    else:
        say(text, style=style)


def _tell(project: Running) -> None:
    _say(f"Up: {', '.join(project.pids())}.", style="green")
    if project.flower_url is not None:
        _say(f"Flower: {project.flower_url}")
    if project.gateway_url is not None:
        _say(f"Gateway: {project.gateway_url}")
    _say(f"Submit runs from another terminal in {project.settings.project_dir}; Ctrl-C stops everything.")


def _model_server(settings: Settings) -> ModelServerChoice | None:
    """The scripted model if there is no key for a real one, and a script to play."""
    script = settings.model_script_file
    if has_endpoint(os.environ):
        return None
    if script is None:
        _say("OPENAI_API_KEY is not set: agents that need it will end their runs in ERROR.")
        return None
    _say(f"The model is scripted, because OPENAI_API_KEY is not set: it plays the rules of {script}.")
    return ModelServerChoice(script=script)
