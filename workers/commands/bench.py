"""The command that measures what runs cost on this machine: bench.

Never fails because something is slow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.commands.pages import add


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(
        app,
        bench,
        "errandry bench --quick",
        "errandry bench --json figures.json",
        "errandry bench --only whole --only dispatch --compare figures.json",
    )


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Take this benchmark, and no others; may be given again. --list names them."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few samples: one to two minutes, and figures with a wide spread.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all samples into this file.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also print the ratio of each figure to that in this file of --json."),
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the benchmarks, and measure nothing.")] = False,
) -> int:
    """Measure what runs cost on this machine, over floors that are measured in the same minutes.

    Starts all that it needs, on this machine alone: a server that writes to the disk of the current folder, a model
    that answers at once, an agent worker, a tool worker with the best sandbox that this machine holds, and for the
    floors bare Celery workers. Work and floor are taken turn about, so that whatever else this machine does slows both.
    Ctrl-C stops everything; nothing is left behind.

    Each figure is a median with its quartiles. A goal that is missed is no failure: the exit code is 0.
    """
    # Celery, the SDK and the sandbox, only now.
    from workers.bench.benchmarks import BENCHMARKS  # noqa: PLC0415
    from workers.bench.running import BenchOptions, run_bench  # noqa: PLC0415
    from workers.bench.telling import print_list  # noqa: PLC0415

    if list_them:
        print_list(BENCHMARKS)
        return 0
    names = [benchmark.name for benchmark in BENCHMARKS]
    for name in only or ():
        if name not in names:
            raise typer.BadParameter(
                f"there is no benchmark {name!r}; there are {', '.join(names)}", param_hint="--only"
            )
    chosen = [benchmark for benchmark in BENCHMARKS if not only or benchmark.name in only]
    return run_bench(BenchOptions(chosen, quick=quick, json_file=json_file, compare_with=compare))
