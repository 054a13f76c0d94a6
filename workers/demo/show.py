"""The demo from start to end: start everything, ask, show, judge, shut down.

Never claims a success: the exit code comes from what the runs' records say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent_core.errors import ErrandryError
from agent_core.run import RunOutput
from queues.client import Client, RunHandle
from queues.redis_url import url_of
from queues.settings import Settings, load_settings
from workers.demo.board import RunView
from workers.demo.folder import demo_folder
from workers.demo.prompts import PROMPTS, Model, problems_of
from workers.demo.screen import Screen
from workers.demo.summary import tell_answers, tell_summary
from workers.demo.watching import events_of
from workers.processes import lines_to
from workers.stopping import Stopped, stopping_on_signals
from workers.terminal import say
from workers.up import ModelServerChoice, Running, has_endpoint, running

_RUNS_SECONDS: dict[Model, float] = {"scripted": 60, "local": 300, "openai": 300}
"""How long the runs may take; the local model answers one request at a time, on whatever the processor has left."""
_LEVEL_NONE = {"sandbox": {"level": "none"}}


class DemoError(ErrandryError):
    """The demo cannot be given as it was asked for."""


@dataclass(frozen=True)
class DemoOptions:
    """What the command line said. `model` is one of auto, scripted, local, openai."""

    model: str
    keep: bool
    sandboxed: bool


def run_demo(options: DemoOptions, *, current: Path | None = None) -> int:
    """Give the whole demo; returns 0 if every run ended as it has to, 1 if not, 128 and more after a signal."""
    model = _chosen_model(options.model)
    try:
        with stopping_on_signals(), demo_folder(current or Path.cwd()) as folder:
            code = _give(options, model, folder)
        say(f"Everything has stopped. The demo's project stays in {folder}.")
    except Stopped as stopped:
        say("Interrupted; everything has stopped.")
        return stopped.exit_code
    return code


def _chosen_model(wanted: str) -> Model:
    real = has_endpoint(os.environ)
    match wanted:
        case "local":
            return "local"
        case "scripted":
            return "scripted"
        case "openai" if not real:
            raise DemoError("Neither OPENAI_API_KEY nor OPENAI_BASE_URL is set; set one, or take --model scripted.")
        case _:
            return "openai" if real else "scripted"


def _give(options: DemoOptions, model: Model, folder: Path) -> int:
    settings = _settings(folder, sandboxed=options.sandboxed)
    say("Errandry demo", style="bold")
    say(_about_the_model(model, folder))
    server = "the Redis of ERRANDRY_REDIS_URL" if settings.redis_url else "an embedded Valkey"
    say(f"Starting {server}, an agent worker, a tool worker for each of {len(settings.pools)} pools, and Flower …")
    started = time.monotonic()
    with (
        (folder / "processes.log").open("w", encoding="utf-8") as log,
        running(
            settings,
            on_line=lines_to(log),
            flower_port=0,
            gateway_port=None,
            model=_model_server(model, folder),
            drain_seconds=10,
        ) as project,
    ):
        say(f"All {len(project.pids())} processes are ready after {time.monotonic() - started:.1f} s.")
        say(f"Flower, while this runs: {project.flower_url}")
        say()
        client = Client(url_of(project.settings))
        code = _ask(client, project, model)
        client.close()
        if options.keep:
            _keep(project)
    return code


def _settings(folder: Path, *, sandboxed: bool) -> Settings:
    path = folder / "errandry.toml"
    # What the demo keeps of its processes' logs is for people to read.
    settings = load_settings(path, log_format="text")
    if sandboxed:
        return settings
    return load_settings(path, log_format="text", pools=dict.fromkeys(settings.pools, _LEVEL_NONE))


def _about_the_model(model: Model, folder: Path) -> str:
    if model == "scripted":
        return f"The model is scripted: no key, no network; it plays the rules of {folder / 'model.toml'}."
    if model == "local":
        return "The model is a real one of 121 million parameters on this machine: no key, no network."
    endpoint = os.environ.get("OPENAI_BASE_URL") or "OpenAI's endpoint"
    return f"The model is {os.environ.get('OPENAI_MODEL', 'gpt-5-mini')} at {endpoint}."


def _model_server(model: Model, folder: Path) -> ModelServerChoice | None:
    match model:
        case "scripted":
            return ModelServerChoice(script=folder / "model.toml")
        case "local":
            return ModelServerChoice(script=None)
        case "openai":
            return None


def _ask(client: Client, project: Running, model: Model) -> int:
    views: list[RunView] = []
    runs: list[RunHandle] = []
    for number, prompt in enumerate(PROMPTS, start=1):
        submitted_at = datetime.now(UTC)
        run = client.submit("demo", prompt.text)
        runs.append(run)
        views.append(RunView(prompt.text, run.run_id, submitted_at))
        say(f"[{number}] {run.run_id}  {prompt.text}")
    say()
    screen = Screen(views)
    with screen.showing():
        for number, event in events_of(runs, timeout_seconds=_RUNS_SECONDS[model]):
            views[number - 1].apply(event)
            screen.update(number, event)
    outputs = [run.output() for run in runs]
    tell_answers(PROMPTS, views, outputs)
    tell_summary(views, outputs, project.pids())
    return _judge(views, outputs, model)


def _judge(views: Sequence[RunView], outputs: Sequence[RunOutput], model: Model) -> int:
    say()
    code = 0
    for number, (prompt, view, output) in enumerate(zip(PROMPTS, views, outputs, strict=True), start=1):
        for problem in problems_of(prompt, output, pauses=view.pauses, model=model):
            say(f"Run [{number}] {output.run_id} did not end as expected: {problem}", style="red")
            code = 1
    if code == 0:
        say("Every run ended as expected.", style="green")
    return code


def _keep(project: Running) -> None:
    say()
    say(f"Everything keeps running until Ctrl-C. Flower: {project.flower_url}")
    say(f"Try in another terminal: cd {project.settings.project_dir} && errandry submit demo 'Add 2 and 2' --follow")
    try:
        project.supervise()
    except Stopped:
        say("Stopping …")
