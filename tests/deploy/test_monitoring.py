"""Dashboard, alerts and scrape configuration: whatever they name is really exported, and alerts fire when they should.

What is exported is read from the gateway's own rendering, and each selector has to find a series there.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent_core.run import RunStatus
from queues.backlog import Backlog
from queues.counting import FAMILIES, SUM
from queues.figures import Figures
from queues.topology import LANES
from workers.gateway.metric_table import ALL
from workers.gateway.metrics import Metrics
from workers.gateway.store_metrics import Measured

pytestmark = pytest.mark.deploy

DEPLOY = Path(__file__).parents[2] / "deploy"
GRAFANA, PROMETHEUS = DEPLOY / "grafana", DEPLOY / "prometheus"
POOLS = ("shell", "python")
# Exported, and on purpose neither on the dashboard nor in an alert.
UNUSED: frozenset[str] = frozenset()
# What Prometheus adds to each series, and what Grafana puts in place of its variables.
ADDED = {"job": "errandry", "instance": "127.0.0.1:8700"}
VARIABLES = {"$__rate_interval": "5m", "$job": ".+", "$pool": ".+"}


@dataclass(frozen=True)
class Series:
    """One series as a scrape finds it."""

    name: str
    labels: Mapping[str, str]


@cache
def exported() -> tuple[Series, ...]:
    """Everything that a gateway exports once each thing that can be counted has been counted."""
    counted = {}
    for family in FAMILIES:
        values = {"pool": POOLS, "agent": ("ops",), "model": ("gpt",), **family.values}
        for labels in product(*(values[label] for label in family.labels)):
            for last in (*family.bounds, SUM) if family.buckets else ("",):
                counted[(family.name, *labels, *([last] if last else []))] = 1
    backlog = Backlog(
        waiting={(pool, lane): 1 for pool in (None, *POOLS) for lane in LANES},
        oldest_seconds=dict.fromkeys(POOLS, 1.0),
        runs_kept=1,
        runs_finished=1,
        dead_letters=1,
        webhooks_waiting=1,
        agents_announced=1,
    )
    figures = Figures(
        runs=dict.fromkeys(RunStatus, 1),
        submitted=1,
        counted=counted,
        open_calls=dict.fromkeys(POOLS, 1),
        tool_workers=dict.fromkeys(POOLS, 1),
    )
    metrics = Metrics()
    for status in (200, 503):
        metrics.count_request("/v1/runs", "POST", status)
    text = metrics.render(open_streams=1, found=Measured(POOLS, backlog, figures)).decode()
    return tuple(
        Series(sample.name, {**sample.labels, **ADDED})
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GRAFANA / "errandry.json").read_text(encoding="utf-8"))["panels"]
    return found


@dataclass(frozen=True)
class Query:
    """An expression, where it stands, and the labels that are made use of beside it."""

    place: str
    text: str
    shown: tuple[str, ...] = ()


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries() -> Iterator[Query]:
    for panel in panels():
        for target in panel.get("targets", ()):
            shown = re.findall(r"{{(\w+)}}", target["legendFormat"])
            yield Query(f"panel {panel['title']}", target["expr"], tuple(shown))
    for rule in rules():
        shown = re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values()))
        yield Query(f"alert {rule['alert']}", rule["expr"], tuple(shown))


QUERIES = list(queries())


def parsed(text: str) -> promql_parser.Expr:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, "a variable that the dashboard does not have"
    return promql_parser.parse(text)


def selectors(expression: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    """Every selector in it, those of ranges as well."""
    found: list[promql_parser.VectorSelector] = []

    def visit(part: promql_parser.Expr) -> bool:
        if isinstance(part, promql_parser.VectorSelector):
            found.append(part)
        elif isinstance(part, promql_parser.MatrixSelector) and part.vector_selector not in found:
            found.append(part.vector_selector)
        return True

    promql_parser.walk(expression, visit)
    return found


def selected(selector: promql_parser.VectorSelector) -> list[Series]:
    """The exported series that it selects."""
    return [
        series
        for series in exported()
        if series.name == selector.name and all(matches(one, series.labels) for one in selector.matchers.matchers)
    ]


def matches(matcher: promql_parser.Matcher, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    match str(matcher.op):
        case "MatchOp.Equal":
            return value == matcher.value
        case "MatchOp.NotEqual":
            return value != matcher.value
        case "MatchOp.Re":
            return re.fullmatch(matcher.value, value) is not None
        case "MatchOp.NotRe":
            return re.fullmatch(matcher.value, value) is None
    raise AssertionError(matcher.op)


def labels_of(expression: Any) -> set[str]:
    """The labels that the result has; fails where an aggregation keeps one that its input does not have."""
    match expression:
        case promql_parser.VectorSelector():
            return set().union(*(series.labels for series in selected(expression)))
        case promql_parser.MatrixSelector():
            return labels_of(expression.vector_selector)
        case promql_parser.AggregateExpr():
            kept = set(expression.modifier.labels) if expression.modifier is not None else set()
            assert kept <= labels_of(expression.expr), f"{kept} of {expression.expr}"
            return kept
        case promql_parser.Call():
            given = [labels_of(argument) for argument in expression.args]
            return set().union(*given) - ({"le"} if expression.func.name == "histogram_quantile" else set())
        case promql_parser.BinaryExpr():
            left, right = labels_of(expression.lhs), labels_of(expression.rhs)
            assert not right or not left or left == right, f"the sides of {expression} do not meet"
            return left | right
        case promql_parser.ParenExpr():
            return labels_of(expression.expr)
        case promql_parser.NumberLiteral():
            return set()
    raise AssertionError(type(expression))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_each_selector_finds_a_series_that_is_exported(query: Query) -> None:
    found = selectors(parsed(query.text))
    assert found, "it asks for nothing"
    for selector in found:
        assert selected(selector), f"nothing is exported that {selector} would find"
        for matcher in selector.matchers.matchers:
            assert any(matcher.name in series.labels for series in selected(selector)), matcher


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_labels_are_there_where_they_are_kept_and_shown(query: Query) -> None:
    labels = labels_of(parsed(query.text))
    assert set(query.shown) <= labels


def test_figures_of_the_store_are_not_summed_over_gateways() -> None:
    """Each gateway tells all of them, so a sum would count twice."""
    for query in QUERIES:
        for selector in selectors(parsed(query.text)):
            name = str(selector.name)
            apart = "instance" in query.text
            is_store = not name.startswith("errandry_gateway_")
            if is_store:
                assert not apart and ("max by" in query.text or "max(" in query.text or "absent(" in query.text), query
            else:
                assert "sum by" in query.text and "max" not in query.text, query


def test_every_metric_is_used_or_on_purpose_unused() -> None:
    names = {described.name for described in ALL}
    asked = {str(selector.name) for query in QUERIES for selector in selectors(parsed(query.text))}
    used = {name for name in names if asked & {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"}}
    assert names - used == UNUSED


def test_a_selector_that_finds_nothing_is_noticed() -> None:
    for wrong in ('errandry_runs{state="asleep"}', "errandry_run", 'errandry_calls_total{pool="x"}'):
        (selector,) = selectors(parsed(wrong))
        assert not selected(selector)
    with pytest.raises(AssertionError):
        labels_of(parsed("max by (colour) (errandry_runs)"))
    with pytest.raises(AssertionError):
        labels_of(parsed("max by (job, state) (errandry_runs) / max by (job) (errandry_dead_letters)"))


def test_the_dashboard_is_what_its_panels_make() -> None:
    made = subprocess.run([sys.executable, GRAFANA / "make.py"], capture_output=True, text=True, check=True)
    assert made.stdout == (GRAFANA / "errandry.json").read_text(encoding="utf-8"), "run make.py --write"


def test_panels_have_places_of_their_own_and_say_what_they_show() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    places = [(panel["title"], panel["gridPos"]) for panel in found]
    for title, place in places:
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24, title
    for (one, here), (other, there) in combinations(places, 2):
        apart_x = here["x"] + here["w"] <= there["x"] or there["x"] + there["w"] <= here["x"]
        apart_y = here["y"] + here["h"] <= there["y"] or there["y"] + there["h"] <= here["y"]
        assert apart_x or apart_y, f"{one} lies upon {other}"
    for panel in found:
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCD")[: len(panel["targets"])]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        if len(panel["targets"]) > 1:
            assert len({target["legendFormat"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_row_of_the_dashboard_has_a_hole() -> None:
    """Panels of one line fill it, so that nothing looks forgotten."""
    lines: dict[int, int] = {}
    for panel in panels():
        lines[panel["gridPos"]["y"]] = lines.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(lines.values()) == {24}


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        said = rule["annotations"]
        assert said["runbook"] == "deploy/README.md#what-to-alarm-on"
        assert len(said["description"]) > 80 and said["summary"].endswith(".")


def test_the_runbook_tells_of_each_alert() -> None:
    section = (
        (DEPLOY / "README.md").read_text(encoding="utf-8").partition("\n## What to alarm on\n")[2].partition("\n## ")[0]
    )
    assert set(re.findall(r"`(Errandry\w+)`", section)) == {rule["alert"] for rule in rules()}


def promtool(*arguments: str) -> str:
    """What promtool says; fails if it is not content."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool here (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_prometheus_own_tool_is_content(arguments: Sequence[str]) -> None:
    assert "SUCCESS" in promtool(*arguments)


def test_each_alert_is_tried_out() -> None:
    tried = (PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'alertname="(\w+)"', tried)) == {rule["alert"] for rule in rules()}
