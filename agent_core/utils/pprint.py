"""Prints runs for people: plain text when piped, panels on a terminal.

Never loads `rich` unless the output is a terminal.
"""

import json
import sys
from collections.abc import AsyncIterable, Iterable
from typing import TextIO

from pydantic import BaseModel

from agent_core.events import RunContent, RunError, RunEvent, RunPaused
from agent_core.run import RunOutput, RunStatus


def pprint_run_response(
    run_response: RunOutput | Iterable[RunEvent | RunOutput], *, markdown: bool = True, file: TextIO | None = None
) -> None:
    """Print an output, or the events of a streamed run as they come."""
    out = file or sys.stdout
    if isinstance(run_response, RunOutput):
        _print_output(run_response, markdown=markdown, out=out)
        return
    for part in run_response:
        _print_part(part, out=out)
    print(file=out)


async def apprint_run_response(
    run_response: RunOutput | AsyncIterable[RunEvent | RunOutput], *, markdown: bool = True, file: TextIO | None = None
) -> None:
    """Do as `pprint_run_response`, for what `arun` gives."""
    out = file or sys.stdout
    if isinstance(run_response, RunOutput):
        _print_output(run_response, markdown=markdown, out=out)
        return
    async for part in run_response:
        _print_part(part, out=out)
    print(file=out)


def _print_part(part: RunEvent | RunOutput, *, out: TextIO) -> None:
    if isinstance(part, RunContent):
        print(part.content, end="", file=out, flush=True)
    elif isinstance(part, RunPaused | RunError):
        print(f"\n{part.content}", file=out, flush=True)


def _print_output(output: RunOutput, *, markdown: bool, out: TextIO) -> None:
    text = _text_of(output)
    if not out.isatty():
        print(text, file=out)
        return
    from rich.console import Console  # noqa: PLC0415 - costs 170 ms, needed on a terminal only
    from rich.markdown import Markdown  # noqa: PLC0415 - as above
    from rich.panel import Panel  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    body = Markdown(text) if markdown and output.content_type == "str" else Text(text)
    Console(file=out).print(Panel(body, title=f"{output.agent_name} · {output.status}", title_align="left"))


def _text_of(output: RunOutput) -> str:
    if output.status is RunStatus.PAUSED:
        lines = [f"Run {output.run_id} is paused and waits for:"]
        for requirement in output.active_requirements:
            call = requirement.tool_execution
            lines.append(f"- {call.tool_name}({json.dumps(call.tool_args, ensure_ascii=False)})")
        return "\n".join(lines)
    if output.error is not None:
        return f"Run {output.run_id} ended as {output.status}: {output.error}"
    if isinstance(output.content, BaseModel):
        return output.content.model_dump_json(indent=2)
    if isinstance(output.content, str):
        return output.content
    return json.dumps(output.content, indent=2, ensure_ascii=False)
