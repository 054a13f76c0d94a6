"""The one command of the product, `errandry`: it reads the command line and turns errors into a sentence and a code.

Never does a command's work itself, and imports nothing heavy: `errandry --help` has to be quick.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from agent_core.errors import ErrandryError, ImportStringError
from queues.errors import SettingsError, UnknownPoolError
from workers.commands import (
    acl,
    api_keys,
    bench,
    credentials,
    dead,
    doctor,
    looking,
    people,
    pools,
    processes,
    projects,
    runs,
)
from workers.commands.log_lines import is_json
from workers.encodings import forgive_output

FAILED = 1
MISUSED = 2
INTERRUPTED = 130

# What was typed or written in the settings has to change before the same command can succeed.
_MISUSE = (SettingsError, ImportStringError, UnknownPoolError)

_EPILOG = (
    "Exit codes: 0 done, 1 failed (also a run that ended in ERROR or CANCELLED), 2 wrong usage or settings, "
    "130 interrupted.\n\n"
    "Start here: errandry demo"
)


@dataclass
class GlobalOptions:
    """What stands before the name of the command."""

    debug: bool = False


app = typer.Typer(
    name="errandry",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"errandry {version('errandry')}")
        raise typer.Exit


@app.callback()
def before_any_command(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """LLM agents as durable background jobs, whose tools execute in sandboxed workers elsewhere."""
    context.ensure_object(GlobalOptions).debug = debug


for commands in (processes, runs, looking, people, dead, pools, doctor, acl, credentials, api_keys, projects, bench):
    commands.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry one command line out; returns the exit code, with a sentence on stderr unless that is 0."""
    options = GlobalOptions()
    forgive_output()
    try:
        code = app(arguments, prog_name="errandry", standalone_mode=False, obj=options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `| head` has; what is left in buffers is for nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except TyperException as error:
        # Help that was shown for want of a command has no words of its own.
        return _refuse(error.format_message(), code=MISUSED) if error.format_message() else MISUSED
    except ErrandryError as error:
        if options.debug:
            traceback.print_exc()
        return _refuse(str(error), code=MISUSED if isinstance(error, _MISUSE) else FAILED)
    except Exception as error:
        if options.debug:
            raise
        return _refuse(
            f"{type(error).__name__}: {error}. This was not foreseen; `errandry --debug …` shows where.", code=FAILED
        )
    return code if isinstance(code, int) else 0


def _refuse(sentence: str, *, code: int) -> int:
    if is_json():
        logging.getLogger("errandry").critical("%s", sentence)
    else:
        typer.echo(f"Error: {sentence}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
