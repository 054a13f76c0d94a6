"""Commands that start processes: demo, up, agent-worker, tool-worker, gateway, flower.

Never starts anything itself: each command hands over to the module that does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.opening import importable_project, project_settings
from workers.commands.pages import add

if TYPE_CHECKING:
    from queues.settings import Settings


class LogLevel(StrEnum):
    """How much a worker tells."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What the log looks like."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class DemoModel(StrEnum):
    """Who answers in the demo."""

    AUTO = "auto"
    SCRIPTED = "scripted"
    LOCAL = "local"
    OPENAI = "openai"


Level = Annotated[LogLevel, typer.Option("--log-level", help="How much the worker tells.")]
Format = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format",
        help="text is for people, json is one object a line for whatever collects logs; auto is text on a terminal "
        "only. log_format of errandry.toml by default, else auto.",
    ),
]
NodeName = Annotated[
    str | None,
    typer.Option(metavar="NODE", help="The worker's name in Flower; needed where two of a kind share a machine."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    add(app, demo, "errandry demo", "errandry demo --keep", "errandry demo --model local")
    add(app, up, "errandry up", "OPENAI_API_KEY=… errandry up")
    add(app, agent_worker, "OPENAI_API_KEY=… errandry agent-worker")
    add(app, tool_worker, "errandry tool-worker --pool shell")
    add(app, gateway, "errandry gateway --port 8701")
    add(app, flower, "errandry flower --port 5556")


def demo(
    model: Annotated[
        DemoModel,
        typer.Option(
            help=r"Who answers: a scripted model, the small local model (package errandry\[localmodel]), or the "
            "endpoint that OPENAI_API_KEY and OPENAI_BASE_URL name. auto takes that endpoint if one of them is set."
        ),
    ] = DemoModel.AUTO,
    keep: Annotated[bool, typer.Option("--keep", help="Keep everything running until Ctrl-C, to look around.")] = False,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run the demo's own tools without a wall, where none can be had.")
    ] = False,
) -> int:
    """Watch agents run in the background and their tools execute in sandboxed workers. Ends by itself.

    Starts a Redis-compatible server, a model, an agent worker, two tool workers and Flower on this machine, submits a
    few prompts, shows where each run and each tool call is, and shuts everything down. All files lie in
    .errandry/demo of the current folder. A server named in ERRANDRY_REDIS_URL is used instead of an own one.

    The exit code is 0 if every run ended as it should, else 1.
    """
    # Everything heavy, only now.
    from workers.demo.show import DemoOptions, run_demo  # noqa: PLC0415

    return run_demo(DemoOptions(model=model.value, keep=keep, sandboxed=not no_sandbox))


def up(
    flower_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Flower's port on 127.0.0.1; 0 takes a free one.")
    ] = 5555,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Leave Flower out.")] = False,
    gateway_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The gateway's port; gateway.port by default (8700). 0 takes a free one."),
    ] = None,
    no_gateway: Annotated[bool, typer.Option("--no-gateway", help="Leave the HTTP gateway out.")] = False,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How long workers may finish what they hold when they are stopped; drain_seconds of errandry.toml by "
            "default. Then they hand it back.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option("--log-format", help="text, as ever, or json: one object a line; auto is text here."),
    ] = None,
) -> int:
    """Start all processes of the project on this machine, until Ctrl-C.

    Reads errandry.toml in the current folder or above it: an agent worker, a tool worker for each pool, the HTTP
    gateway, Flower, and an embedded Redis-compatible server if no redis_url is set. Crashed processes are started
    again. Ctrl-C and SIGTERM drain: workers finish what they hold, the server goes last. Submit runs from another
    terminal.

    The agents' model is the endpoint that OPENAI_API_KEY and OPENAI_BASE_URL name. While neither is set, and
    errandry.toml has a model_script, a scripted model plays those rules instead.
    """
    from workers.commands.up_command import run_up  # noqa: PLC0415 - everything heavy, only now

    settings = _logging(project_settings(), log_format)
    if gateway_port is None:
        gateway_port = settings.gateway.port
    return run_up(
        settings,
        flower_port=None if no_flower else flower_port,
        gateway_port=None if no_gateway else gateway_port,
        drain_seconds=drain_seconds,
    )


def agent_worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="How many runs at once; agent_concurrency of errandry.toml by default.")
    ] = None,
    name: NodeName = None,
    loglevel: Level = LogLevel.INFO,
    log_format: Format = None,
) -> int:
    """Run an agent worker: it carries runs on and calls the model. The only process that needs the model's key.

    Imports the agents that errandry.toml lists; its folder is importable. SIGTERM and Ctrl-C drain: the worker takes
    nothing new, finishes what it holds within drain_seconds of errandry.toml, and leaves; runs that it cannot finish
    go to another worker at once, from their last save. A second signal, or SIGQUIT, hands them back at once.
    """
    from workers.commands import workers_command  # noqa: PLC0415 - everything heavy, only now

    return workers_command.run_agent_worker(
        _logging(importable_project(), log_format),
        concurrency=concurrency,
        node=name or "agents",
        loglevel=loglevel,
    )


def tool_worker(
    pool: Annotated[str, typer.Option(metavar="NAME", help="The pool whose calls this worker executes.")],
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="How many calls at once; the pool's concurrency by default.")
    ] = None,
    name: NodeName = None,
    loglevel: Level = LogLevel.INFO,
    log_format: Format = None,
) -> int:
    """Run a tool worker of one pool: it executes calls, each in a sandboxed process of its own.

    Needs neither the agents nor a model's key. SIGTERM and Ctrl-C drain: the worker takes nothing new, finishes what
    it holds within drain_seconds of errandry.toml, and leaves; calls that it cannot finish are stopped, and reported or
    executed again elsewhere, as their on_lost says. A second signal, or SIGQUIT, stops them at once.
    """
    from workers.commands import workers_command  # noqa: PLC0415 - everything heavy, only now

    return workers_command.run_tool_worker(
        _logging(project_settings(), log_format),
        pool,
        concurrency=concurrency,
        node=name or pool,
        loglevel=loglevel,
    )


def gateway(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The port to listen on; port of [gateway] by default. 0 takes a free one."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="The address to listen on; host of [gateway] by default, else 127.0.0.1. Any but this machine's own "
            "needs API keys."
        ),
    ] = None,
    log_format: Format = None,
) -> None:
    """Run the HTTP gateway: submit runs, follow them, answer what they ask, from any language and from a browser.

    On 127.0.0.1, and as long as there is no API key, every program of this machine may do everything; web pages of
    other sites may not. Once `errandry key create` has made a key, each request needs one, and other addresses may be
    listened on. What there is to ask for stands at /openapi.json. Put a proxy that speaks TLS in front of it where
    others can listen.

    SIGTERM and Ctrl-C drain: streams of events end, and their readers go on elsewhere where they stopped; requests
    finish within seconds.
    """
    from workers.commands import gateway_command  # noqa: PLC0415 - everything heavy, only now

    gateway_command.run_gateway(_logging(project_settings(), log_format), host=host, port=port)


def flower(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 5555,
    address: Annotated[
        str, typer.Option(help="The address to listen on; any but this machine's own needs --basic-auth.")
    ] = "127.0.0.1",
    basic_auth: Annotated[
        list[str] | None,
        typer.Option(
            metavar="USER:PASSWORD",
            envvar="FLOWER_BASIC_AUTH",
            help="Ask for this user and password. The environment variable keeps them out of the process list.",
        ),
    ] = None,
    log_format: Format = None,
) -> None:
    """Run Flower, the monitor of the queues and workers, in a browser: workers, tasks, queue lengths.

    Without a password its pages are for programs of this machine, and nothing can be ordered there. With one a worker
    can be shut down: it drains, and a supervisor starts it again. One Flower a project; its history is kept in
    .errandry/flower-history, saved every 10 s, and survives restarts.
    """
    from workers.commands import workers_command  # noqa: PLC0415 - everything heavy, only now

    workers_command.run_flower(
        _logging(project_settings(), log_format), address=address, port=port, basic_auth=basic_auth or ()
    )


def _logging(settings: Settings, form: LogFormat | None) -> Settings:
    """The settings, with the form of the log that the command line asks for."""
    return settings if form is None else settings.model_copy(update={"log_format": form.value})
