"""The file of figures: what stands in it, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.bench.test_comparing import figure, report
from workers.bench.errors import BenchFileError
from workers.bench.machine import load, this_machine
from workers.bench.report import ensure_writable, read_report, write_report


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    written = report(figure("a", [1, 2, 3], [1, 1, 1]))
    write_report(written, tmp_path / "figures.json")
    assert read_report(tmp_path / "figures.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_the_file_names_its_kind_and_schema(tmp_path: Path) -> None:
    write_report(report(figure("a", [1, 2, 3])), tmp_path / "figures.json")
    stored = json.loads((tmp_path / "figures.json").read_text())
    assert (stored["kind"], stored["schema"], stored["runs"]) == ("errandry bench", 1, 1)
    assert stored["machine"]["cores"] == 2
    assert stored["figures"][0]["work"]["median"] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no file of `errandry bench --json`: it is not JSON"),
        ("[]", "is no file of `errandry bench --json`."),
        ('{"runs": []}', "is no file of `errandry bench --json`."),
        ('{"kind": "errandry bench", "schema": 2}', "has schema 2, and this release compares schema 1 only"),
        ('{"kind": "errandry bench", "schema": 1}', "is damaged at quick: Field required."),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(BenchFileError) as refused:
        read_report(path)
    assert str(refused.value).startswith(f"{path} {words}")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchFileError, match="cannot be read: No such file or directory"):
        read_report(tmp_path / "none.json")


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "figures.json")
    for path in (tmp_path, tmp_path / "none" / "figures.json"):
        with pytest.raises(BenchFileError, match="name a file in a folder that is there"):
            ensure_writable(path)


def test_the_machine_at_hand_is_described() -> None:
    machine = this_machine(server={"name": "valkey", "version": "9.1"}, sandbox_level="ns", load_before=load())
    assert machine.cores >= 1
    assert machine.memory_mb > 100
    assert machine.server == "valkey 9.1"
    assert machine.versions["celery"].startswith("5.")
