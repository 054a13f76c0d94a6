"""What the command `bench` does: starts a stage, takes the benchmarks on it, shows and keeps the figures.

Never judges a figure by its exit code, and leaves neither a process nor a file behind but the one it was asked for.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from workers.bench.benchmark import Benchmark
from workers.bench.comparing import caveats, changes
from workers.bench.errors import BenchError
from workers.bench.figures import Figure
from workers.bench.machine import load, this_machine
from workers.bench.report import Report, ensure_writable, read_report, write_report
from workers.bench.rig import without_variables
from workers.bench.stage import Stage
from workers.bench.telling import print_changes, print_figures, progress_line
from workers.stopping import Stopped, stopping_on_signals
from workers.terminal import say

# Settings of a project, keys and endpoints of a model, and what exporters would send elsewhere.
_OTHERS = ("ERRANDRY_", "OPENAI_", "OTEL_", "FLOWER_", "CELERY_")


@dataclass(frozen=True)
class BenchOptions:
    """What the command line said."""

    chosen: Sequence[Benchmark]
    quick: bool
    json_file: Path | None
    compare_with: Path | None


def run_bench(options: BenchOptions, *, current: Path | None = None) -> int:
    """Take all chosen benchmarks; returns 0 whatever they say, 128 and more after a signal."""
    earlier = read_report(options.compare_with) if options.compare_with is not None else None
    if options.json_file is not None:
        ensure_writable(options.json_file)
    try:
        with stopping_on_signals():
            report = _measured(options, current or Path.cwd())
    except Stopped as stopped:
        say("Interrupted; everything has stopped.")
        return stopped.exit_code
    _tell(report)
    if earlier is not None:
        _tell_changes(earlier, report)
    if options.json_file is not None:
        write_report(report, options.json_file)
        say(f"\nAll samples are in {options.json_file}.")
    return 0


def _measured(options: BenchOptions, current: Path) -> Report:
    load_before = load()
    figures: list[Figure] = []
    with (
        without_variables(_OTHERS),
        progress_line("Starting") as progress,
        bench_folder(current) as folder,
        Stage(folder, quick=options.quick, progress=progress) as stage,
    ):
        for benchmark in options.chosen:
            figures += benchmark.measure(stage)
        return Report(
            quick=options.quick,
            machine=this_machine(server=stage.server, sandbox_level=stage.level, load_before=load_before),
            runs=stage.runs,
            figures=figures,
            details=stage.details,
        )


@contextmanager
def bench_folder(current: Path) -> Iterator[Path]:
    """A folder on the disk of the current one, which counts: the server writes to it. It goes with the block."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".errandry-bench-", dir=current))
    except OSError as error:
        raise BenchError(
            f"The benchmarks cannot use {current}: {error.strerror}; start them in a folder that you may write to."
        ) from error
    try:
        folder.chmod(0o755)  # tools never run as root, and have to find theirs
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(report: Report) -> None:
    print_figures(report.figures)
    machine = report.machine
    parts = [machine.processor, f"{machine.cores} cores", machine.python]
    parts += [machine.server] if machine.server else []
    parts += [f"sandbox {machine.sandbox_level}"] if machine.sandbox_level else []
    parts += [f"load {machine.load_before:g} before, {machine.load_after:g} after", f"{report.runs} runs"]
    say(f"\n{', '.join(parts)}")
    for what, named in report.details.items():
        say(f"\n{what}")
        _tell_counts(named)


def _tell_counts(named: JsonValue) -> None:
    for sender, counts in named.items() if isinstance(named, dict) else ():
        words = ", ".join(f"{name} {number}" for name, number in counts.items()) if isinstance(counts, dict) else counts
        say(f"  {sender}: {words}")


def _tell_changes(earlier: Report, now: Report) -> None:
    say(f"\nAgainst the figures of {earlier.created_at:%Y-%m-%d %H:%M} UTC")
    for sentence in caveats(earlier, now):
        say(sentence, style="yellow")
    print_changes(changes(earlier, now.figures))
    say("worse and better: the middle halves of the samples do not touch. Anything else may be chance.")
