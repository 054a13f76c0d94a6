"""What `--compare` says of two reports: ratios, marks, and what makes them doubtful."""

from __future__ import annotations

from workers.bench.comparing import caveats, changes
from workers.bench.figures import Better, Figure, Measure, Series
from workers.bench.machine import Machine
from workers.bench.report import Report

MACHINE = Machine(
    system="Linux 6",
    processor="x",
    cores=2,
    memory_mb=4096,
    python="CPython 3.11.7",
    versions={"celery": "5.7.0"},
    server="valkey 9",
    sandbox_level="ns",
    load_before=0.1,
    load_after=0.5,
)


def figure(
    name: str, work: list[float], floor: list[float] | None = None, *, unit: str = "ms", better: Better = "less"
) -> Figure:
    measure = Measure(name=name, unit=unit, better=better)
    return Figure.taken("whole", measure, Series.of(work), Series.of(floor) if floor is not None else None)


def report(*figures: Figure, machine: Machine = MACHINE, quick: bool = False) -> Report:
    return Report(quick=quick, machine=machine, runs=1, figures=list(figures))


def test_a_change_is_the_ratio_of_the_medians() -> None:
    (change,) = changes(report(figure("a", [10, 11, 12])), [figure("a", [21, 22, 23])])
    assert (change.value, change.over_floor, change.mark) == (2.0, None, "worse")


def test_more_may_be_better() -> None:
    (more,) = changes(report(figure("a", [10, 11, 12], better="more")), [figure("a", [21, 22, 23], better="more")])
    (less,) = changes(report(figure("a", [21, 22, 23], better="more")), [figure("a", [10, 11, 12], better="more")])
    assert (more.mark, less.mark) == ("better", "worse")


def test_what_the_spread_explains_bears_no_mark() -> None:
    (change,) = changes(report(figure("a", [10, 20, 30])), [figure("a", [22, 24, 26])])
    assert (change.value, change.mark) == (1.2, "")


def test_of_too_few_samples_no_spread_is_known() -> None:
    (change,) = changes(report(figure("a", [10])), [figure("a", [20])])
    assert (change.value, change.mark) == (2.0, "")


def test_a_busy_machine_that_slows_the_floor_as_well_is_no_change() -> None:
    then, now = figure("a", [10, 11, 12], [5, 5.5, 6]), figure("a", [20, 22, 24], [10, 11, 12])
    (change,) = changes(report(then), [now])
    assert (change.value, change.over_floor, change.mark) == (2.0, 1.0, "")


def test_a_figure_whose_floor_alone_got_faster_is_marked() -> None:
    then, now = figure("a", [10, 10, 10], [5, 5, 5]), figure("a", [10, 10, 10], [2, 2, 2])
    (change,) = changes(report(then), [now])
    assert (change.value, change.over_floor, change.mark) == (1.0, 2.5, "worse")


def test_nothing_before_and_nothing_now_is_no_change() -> None:
    (change,) = changes(report(figure("a", [0, 0, 0])), [figure("a", [0, 0, 0])])
    assert (change.value, change.mark) == (1.0, "")


def test_figures_that_only_one_has_or_in_another_unit_are_left_out() -> None:
    then = report(figure("a", [1]), figure("b", [1], unit="s"))
    assert [change.now.name for change in changes(then, [figure("b", [1]), figure("c", [1])])] == []


def test_the_same_machine_and_form_need_no_words() -> None:
    assert list(caveats(report(figure("a", [1])), report(figure("a", [2])))) == []


def test_another_machine_is_told_in_a_sentence() -> None:
    other = MACHINE.model_copy(update={"cores": 8, "load_before": 3.0})
    (sentence,) = caveats(report(machine=other), report())
    assert sentence == "The earlier figures were taken on another machine: cores 8 instead of 2."


def test_what_is_not_known_of_a_machine_is_no_difference() -> None:
    assert list(caveats(report(machine=MACHINE.model_copy(update={"server": ""})), report())) == []


def test_the_other_form_and_new_figures_are_told() -> None:
    found = list(caveats(report(quick=True), report(figure("a", [1]))))
    assert found == [
        "The earlier figures are of the short form, these of the full one.",
        "The earlier file does not have whole: a.",
    ]
    many = report(*(figure(name, [1]) for name in "abcd"))
    assert list(caveats(report(), many)) == ["The earlier file does not have 4 of these figures."]
