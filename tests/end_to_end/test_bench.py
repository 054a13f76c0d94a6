"""`errandry bench` with real processes: figures of runs that were really carried out, and nothing left behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.command import Command
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def bench(tmp_path: Path) -> Command:
    """The command in an empty folder, where another project's settings lie around it."""
    (tmp_path / "errandry.toml").write_text('agents = ["nobody.here:at_all"]\n', encoding="utf-8")
    folder = tmp_path / "here"
    folder.mkdir()
    return Command(folder, {"ERRANDRY_REDIS_URL": "redis://127.0.0.1:1/0", "OPENAI_BASE_URL": "http://127.0.0.1:1"})


def assert_nothing_is_left(bench: Command, *files: str) -> None:
    wait_until(lambda: not bench.left_behind(), f"nothing is left of {bench.left_behind()}", timeout_seconds=10)
    assert sorted(path.name for path in bench.folder.iterdir()) == sorted(files)


def test_whole_runs_are_carried_out_and_written_down(bench: Command) -> None:
    ended = bench.run("bench", "--quick", "--only", "whole", "--json", "figures.json", timeout_seconds=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert_nothing_is_left(bench, "figures.json")

    report = json.loads((bench.folder / "figures.json").read_text())
    one, five = report["figures"]
    # The first pair of each opens connections, and is no sample.
    assert (len(one["work"]["samples"]), len(five["work"]["samples"])) == (8, 5)
    assert report["runs"] == (8 + 1) + (5 + 1)
    for figure in (one, five):
        assert figure["bench"] == "whole"
        assert len(figure["floor"]["samples"]) == len(figure["ratio"]["samples"]) == len(figure["work"]["samples"])
        assert all(sample > 0 for sample in (*figure["work"]["samples"], *figure["floor"]["samples"]))
    assert one["goal"] == {"of": "ratio", "bound": 1.5}
    assert one["is_met"] in (True, False)
    assert five["is_met"] is None
    machine = report["machine"]
    assert machine["server"].startswith(("valkey", "redis"))
    assert machine["sandbox_level"] in ("ns", "shared", "landlock", "seatbelt", "none")
    assert "All samples are in figures.json." in ended.stdout
    assert "\x1b" not in ended.stdout


def test_throughput_names_the_commands_of_a_run(bench: Command) -> None:
    ended = bench.run("bench", "--quick", "--only", "throughput", "--json", "figures.json", timeout_seconds=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((bench.folder / "figures.json").read_text())
    figures = {figure["name"]: figure["work"]["median"] for figure in report["figures"]}
    by_sender = report["details"]["commands of a run"]
    # Each run is stored once, claimed for its start and its continuation, and its call is settled once.
    assert by_sender["errandry-producer"]["evalsha create_run"] == 1
    assert by_sender["errandry-agents"]["evalsha claim_run"] >= 2
    assert by_sender["errandry-agents"]["evalsha finish_run"] == 1
    assert by_sender["errandry-pool-bench"]["evalsha settle_call"] == 1
    assert figures["commands of a run within scripts"] > figures["commands of a run"] > 5
    assert figures["round trips of a run"] > 5
    assert figures["runs of one call, 32 in flight"] > 0
    assert_nothing_is_left(bench, "figures.json")


@pytest.mark.parametrize("moment", ["workers.bench.model", "tool-worker --pool bench", "floor.third"])
def test_an_interrupted_bench_leaves_nothing_behind(bench: Command, moment: str) -> None:
    with bench.started("bench", "--only", "whole") as started:
        wait_until(lambda: any(moment in words for words in bench.left_behind()), f"{moment} runs", timeout_seconds=60)
        assert started.stop(signal.SIGINT) == 128 + signal.SIGINT
        assert started.said() == "Interrupted; everything has stopped.\n"
    assert_nothing_is_left(bench)


def test_a_killed_bench_leaves_no_process_behind(bench: Command) -> None:
    with bench.started("bench", "--only", "whole") as started:
        wait_until(
            lambda: any("floor.third" in words for words in bench.left_behind()), "the floor starts", timeout_seconds=60
        )
        started.process.kill()
        wait_until(lambda: not bench.left_behind(), "every process is gone", timeout_seconds=30)
