"""How figures and changes are printed in a pipe, and what the command refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bench.test_comparing import figure, report
from workers import cli
from workers.bench.benchmarks import BENCHMARKS
from workers.bench.comparing import changes
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.telling import print_changes, print_figures


def test_a_figure_is_a_median_with_quartiles_its_ratio_and_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    measure = Measure(name="one call", unit="ms", floor_name="bare parts", goal=Goal(of="ratio", bound=1.5))
    print_figures([Figure.taken("whole", measure, Series.of([20, 30, 40]), Series.of([10, 15, 20]))])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == [
        *("benchmark", "what", "median", "[quartiles]", "p95,", "p99", "floor", "times", "the", "floor", "goal")
    ]
    assert " ".join(row.split()) == "whole one call 30 [25 to 35] ms 15 ms, bare parts 2 [2 to 2]x <= 1.5x missed"


def test_tails_are_told_where_there_are_samples_enough(capsys: pytest.CaptureFixture[str]) -> None:
    print_figures([Figure.taken("a", Measure(name="b", unit="ms"), Series.of(list(range(101))))])
    assert "95, 99" in capsys.readouterr().out


def test_a_change_that_the_spread_does_not_explain_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    print_changes(changes(report(figure("a", [10, 11, 12])), [figure("a", [21, 22, 23])]))
    row = capsys.readouterr().out.splitlines()[1]
    assert " ".join(row.split()) == "whole a 22 [21.5 to 22.5] ms 2.00x worse"


def test_the_list_names_every_benchmark_and_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--list"]) == 0
    said = capsys.readouterr().out
    for benchmark in BENCHMARKS:
        assert f"{benchmark.name}: {benchmark.sentence}" in said
        assert all(measure.name in said for measure in benchmark.measures)
    for goal in ("<= 1.15x", "p95 <= 25 ms", "<= 1.5x", ">= 100 runs/s", "<= 30 commands", "<= 1.25x", "<= 1.2x"):
        assert f"goal {goal})" in said


def test_names_of_benchmarks_and_figures_are_there_once() -> None:
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert len(set(names)) == len(names)
    for benchmark in BENCHMARKS:
        measures = [measure.name for measure in benchmark.measures]
        assert len(set(measures)) == len(measures)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--only", "hole"], 2, "Invalid value for --only: there is no benchmark 'hole'; there are in-process, "),
        (["--compare", "none.json"], 1, "none.json cannot be read: No such file or directory."),
        (["--json", "none/figures.json"], 1, "none/figures.json cannot be written: name a file in a folder"),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(
    arguments: list[str],
    code: int,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == code
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.startswith(f"Error: {sentence}")
    assert list(tmp_path.iterdir()) == []
