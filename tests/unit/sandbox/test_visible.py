"""What would be shown to tools, without starting any."""

import os
import sys
from pathlib import Path

import pytest

from queues.settings_mounts import Mount
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.visible import Bind, Covering, view_of


def _places(project: Path) -> list[Path]:
    return [bind.place for bind in view_of(project).trees]


def test_project_and_interpreter_are_shown_and_each_once(tmp_path: Path) -> None:
    places = _places(tmp_path)

    assert tmp_path in places
    assert len(places) == len(set(places))
    assert any(Path(sys.prefix).is_relative_to(place) for place in places)
    assert any(Path(sys.base_prefix).is_relative_to(place) or sys.base_prefix.startswith("/usr") for place in places)


def test_parents_come_before_children(tmp_path: Path) -> None:
    places = _places(tmp_path)

    assert [len(place.parts) for place in places] == sorted(len(place.parts) for place in places)


@pytest.mark.parametrize("entry", ["/", "/tmp", "/home", ""])
def test_a_wide_entry_of_the_import_path_is_not_shown(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry, *sys.path])

    view = view_of(tmp_path)
    assert Path(entry) not in [bind.place for bind in view.trees]
    assert entry not in view.python_path


@pytest.mark.parametrize("folder", ["/", "/tmp", "/usr/..", "/var"])
def test_a_system_folder_is_no_project(folder: str) -> None:
    with pytest.raises(SandboxUnavailableError, match="folder of their own"):
        view_of(Path(folder))


def test_a_home_below_the_project_counts_as_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "people" / "ann"))

    with pytest.raises(SandboxUnavailableError, match="folder of their own"):
        view_of(tmp_path)
    view_of(tmp_path / "people" / "ann" / "project")


def test_what_to_cover_is_asked_anew(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    assert tmp_path / ".errandry" not in view.masked()[0]

    (tmp_path / ".errandry").mkdir()
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    (tmp_path / ".env.local").write_text("KEY=value")
    folders, files = view.masked()

    assert tmp_path / ".errandry" in folders
    assert {tmp_path / ".git", tmp_path / ".env.local"} <= set(files)


def test_the_network_brings_its_files_along(tmp_path: Path) -> None:
    resolver = Path("/etc/resolv.conf")
    if not resolver.exists():
        pytest.skip("this machine resolves no names")

    assert resolver not in [bind.place for bind in view_of(tmp_path).system]
    assert resolver in [bind.place for bind in view_of(tmp_path, network=True).system]


def test_a_change_of_what_must_be_hidden_is_noticed_and_no_other(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=1")
    covering = Covering(view_of(tmp_path))
    assert not covering.changed()

    (tmp_path / "notes.txt").write_text("nothing to hide")
    (tmp_path / ".env").write_text("KEY=2")
    assert not covering.changed()

    (tmp_path / "new").write_text("KEY=3")
    (tmp_path / "new").replace(tmp_path / ".env")
    assert covering.changed()


@pytest.mark.parametrize("name", [".env.local", ".git", "errandry.toml"])
def test_what_comes_late_and_must_be_hidden_is_noticed(tmp_path: Path, name: str) -> None:
    covering = Covering(view_of(tmp_path))
    (tmp_path / name).mkdir() if name == ".git" else (tmp_path / name).write_text("late")

    assert covering.changed()


def test_settings_that_come_into_pyproject_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    covering = Covering(view_of(tmp_path))
    (tmp_path / "pyproject.toml").write_text("[tool.errandry]\n")
    os.utime(tmp_path / "pyproject.toml", ns=(1, 1))

    assert covering.changed()


def test_a_folder_of_the_pool_lies_where_the_pool_says(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    mounts = [Mount(source="words", place="/reference"), Mount(source="words", place="/results", writable=True)]
    places = {(bind.place, bind.writable) for bind in view_of(tmp_path, mounts=mounts).trees}

    assert {(Path("/reference"), False), (Path("/results"), True)} <= places


def test_a_link_leads_no_mount_where_its_name_may_not(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".errandry").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for name, target in (
        ("usr", "/usr"),
        ("proc", "/proc/self"),
        ("itself", project),
        ("state", project / ".errandry"),
    ):
        (tmp_path / "data" / name).symlink_to(target)
    for source, writable in (("usr", True), ("proc", False), ("itself", True), ("state", False)):
        mount = Mount(str(tmp_path / "data" / source), "/somewhere", writable=writable)
        with pytest.raises(SandboxUnavailableError, match=f'/data/{source}" in the pool.s sandbox settings leads to'):
            view_of(project, mounts=[mount])
    readable = Mount(str(tmp_path / "data" / "itself"), "/somewhere")
    assert Bind(project, Path("/somewhere")) in view_of(project, mounts=[readable]).trees
