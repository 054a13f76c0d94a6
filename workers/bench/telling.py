"""How figures are shown: a progress line on a terminal, tables at the end; plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workers.bench.benchmark import Benchmark
from workers.bench.comparing import Change
from workers.bench.figures import Figure, Series
from workers.bench.stage import Progress
from workers.terminal import clean, console, say

_PIPE_WIDTH = 160
_LEAST_TAIL = 20
_MARKS = {True: ("met", "green"), False: ("missed", "yellow"), None: ("", "default")}
_CHANGES = {"worse": "red", "better": "green", "": "default"}


@contextmanager
def progress_line(begin: str) -> Iterator[Progress]:
    """What is told here is shown on a line that comes and goes; nothing at all in a pipe."""
    if not console().is_terminal:
        yield lambda _what, _done, _of: None
        return
    # Drawn when something is told and not by a thread of its own, whose CPU time would be measured with the rest.
    with Live(Text(f"{begin} …"), console=console(), auto_refresh=False, transient=True) as line:

        def tell(what: str, done: int, of: int) -> None:
            line.update(Text(clean(f"{what}: {done} of {of}" if of else f"{what} …")), refresh=True)

        yield tell


def print_figures(figures: Sequence[Figure]) -> None:
    """All figures, each with its spread, its floor, how many times that it is, and its goal."""
    table = _table("benchmark", "what", "median [quartiles]", "p95, p99", "floor", "times the floor", "goal", "")
    bench = ""
    for figure in figures:
        mark, style = _MARKS[figure.is_met]
        table.add_row(
            figure.bench if figure.bench != bench else "",
            figure.name,
            f"{_spread(figure.work)} {figure.unit}",
            _tail(figure.work),
            f"{_number(figure.floor.median)} {figure.unit}, {figure.floor_name}" if figure.floor is not None else "",
            f"{_spread(figure.ratio)}x" if figure.ratio is not None else "",
            figure.goal_words(),
            Text(mark, style=style),
        )
        bench = figure.bench
    _print(table)


def print_list(benchmarks: Sequence[Benchmark]) -> None:
    """The benchmarks, and what each of them measures, over what floor, with what goal."""
    for benchmark in benchmarks:
        say(f"{benchmark.name}: {benchmark.sentence}", style="bold")
        for measure in benchmark.measures:
            floor = f", over {measure.floor_name}" if measure.floor_name else ""
            goal = f"; goal {measure.goal_words()}" if measure.goal is not None else ""
            say(f"  {measure.name} ({measure.unit}{floor}{goal})")


def print_changes(found: Sequence[Change]) -> None:
    """How many times its earlier self each figure is, and where the spread does not explain it."""
    table = _table("benchmark", "what", "now", "times the earlier", "over the floor", "")
    for change in found:
        table.add_row(
            change.now.bench,
            change.now.name,
            f"{_spread(change.now.work)} {change.now.unit}",
            f"{change.value:.2f}x",
            f"{change.over_floor:.2f}x" if change.over_floor is not None else "",
            Text(change.mark, style=_CHANGES[change.mark]),
        )
    _print(table)


def _table(*headings: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    return table


def _print(table: Table) -> None:
    shown = console()
    if not shown.is_terminal:
        shown = Console(file=shown.file, width=_PIPE_WIDTH, color_system=None, highlight=False, markup=False)
    shown.print(table, soft_wrap=False)


def _spread(series: Series) -> str:
    if len(series.samples) == 1:
        return _number(series.median)
    return f"{_number(series.median)} [{_number(series.low)} to {_number(series.high)}]"


def _tail(series: Series) -> str:
    if len(series.samples) < _LEAST_TAIL:
        return ""
    return f"{_number(series.percentile(95))}, {_number(series.percentile(99))}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
