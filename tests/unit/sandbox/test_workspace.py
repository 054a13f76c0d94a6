"""Workspaces: packed and unpacked without loss, kept all or nothing, held by one call at a time, removed in time."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from queues.settings import SandboxSettings
from workers.sandbox.base import SandboxLevel, SandboxUnavailableError
from workers.sandbox.packing import VARIABLE, open_workspace, pack_workspace
from workers.sandbox.workspace import GRACE_SECONDS, WorkspaceStore, run_of, store_for

NEVER = threading.Event()


@pytest.fixture
def store(tmp_path: Path) -> WorkspaceStore:
    return WorkspaceStore(tmp_path / "kept", most_bytes=1000)


@pytest.fixture(autouse=True)
def own_variable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, "")
    yield


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def packed(folder: Path) -> bytes:
    archive = io.BytesIO()
    pack_workspace(str(folder), archive)
    return archive.getvalue()


def test_what_is_packed_comes_back_as_it_was(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / ("x" * 200)).mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "größe.txt").write_bytes(b"\x00\xff" * 5000)
    (source / "run.sh").write_text("true")
    (source / "run.sh").chmod(0o755)
    (source / "deep" / ("x" * 200) / "file").write_text("deep")
    (source / "away").symlink_to("/usr/bin/python3")
    (source / "near").symlink_to("run.sh")
    os.link(source / "run.sh", source / "twin")
    (source / ".hidden").touch()
    (source / os.fsdecode(b"odd\xff\nname")).touch()
    os.mkfifo(source / "pipe")
    folder = open_workspace(str(target), io.BytesIO(packed(source)))
    assert folder == os.environ[VARIABLE] == str(target)
    assert names(target) == names(source)
    assert (target / "größe.txt").read_bytes() == b"\x00\xff" * 5000
    assert (target / "deep" / ("x" * 200) / "file").read_text() == "deep"
    assert os.access(target / "run.sh", os.X_OK)
    assert (target / "away").readlink() == Path("/usr/bin/python3")
    assert (target / "twin").samefile(target / "run.sh")


def test_no_archive_is_an_empty_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(Path(open_workspace(str(tmp_path / "new"), None))) == []
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert Path(open_workspace("", None)).parent == tmp_path


@pytest.mark.parametrize("broken", [b"", b"x", b"no archive" * 200])
def test_a_broken_archive_is_no_empty_workspace(broken: bytes, tmp_path: Path) -> None:
    with pytest.raises(tarfile.TarError):
        open_workspace(str(tmp_path / "w"), io.BytesIO(broken))


def test_half_an_archive_is_no_workspace(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 100_000)
    with pytest.raises((tarfile.TarError, OSError)):
        open_workspace(str(tmp_path / "w"), io.BytesIO(packed(source)[:50_000]))


def test_names_stay_inside(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as stream:
        stream.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(tarfile.TarError):
        open_workspace(str(tmp_path / "w"), io.BytesIO(archive.getvalue()))
    assert not (tmp_path / "outside").exists()


def fill(store: WorkspaceStore, run_id: str, content: bytes, *, keep: bool = True) -> str:
    with store.hold(run_id, SandboxLevel.NS, cancelled=NEVER) as workspace:
        assert workspace is not None
        for start in range(0, len(content), 7):
            workspace.receive(content[start : start + 7])
        if keep:
            workspace.keep()
        return workspace.problem


def content_of(store: WorkspaceStore, run_id: str) -> bytes | None:
    with store.hold(run_id, SandboxLevel.NS, cancelled=NEVER) as workspace:
        assert workspace is not None
        archive = workspace.outgoing()
        if archive is None:
            return None
        with archive:
            return archive.read()


def test_an_archive_is_kept_for_its_run_alone(store: WorkspaceStore) -> None:
    assert content_of(store, "run_1") is None
    assert fill(store, "run_1", b"one") == ""
    assert fill(store, "run_2", b"two") == ""
    assert (content_of(store, "run_1"), content_of(store, "run_2")) == (b"one", b"two")
    fill(store, "run_1", b"")
    assert content_of(store, "run_1") == b"one", "a call that sends none changes none"


def test_an_archive_that_is_not_kept_leaves_the_old_one(store: WorkspaceStore, tmp_path: Path) -> None:
    fill(store, "run_1", b"old")
    fill(store, "run_1", b"new", keep=False)
    assert content_of(store, "run_1") == b"old"
    assert "larger than" in fill(store, "run_1", b"x" * 1001)
    assert content_of(store, "run_1") == b"old"
    assert not list((tmp_path / "kept").glob("*.incoming"))


@pytest.mark.parametrize("run_id", ["../outside", "a/b", ".", "..", "a.tar", "größe", "{x}", "%2F"])
def test_any_id_names_one_file_in_the_folder(run_id: str, store: WorkspaceStore, tmp_path: Path) -> None:
    fill(store, run_id, b"x")
    assert content_of(store, run_id) == b"x"
    assert len(list((tmp_path / "kept").glob("*.tar"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert store.sweep(lambda runs: [False for _ in runs], now=time.time() + 100) == [run_id]


@pytest.mark.parametrize("run_id", ["", "x" * 300])
def test_what_can_name_no_file_is_refused(run_id: str, store: WorkspaceStore) -> None:
    with pytest.raises(SandboxUnavailableError), store.hold(run_id, SandboxLevel.NS, cancelled=NEVER):
        pass


def test_calls_of_one_run_take_turns_and_others_go_on(store: WorkspaceStore, tmp_path: Path) -> None:
    other_worker = WorkspaceStore(tmp_path / "kept", most_bytes=1000)
    together: list[int] = []
    most: list[int] = []

    def count(number: int) -> None:
        with (store, other_worker)[number % 2].hold("run_1", SandboxLevel.NS, cancelled=NEVER) as workspace:
            assert workspace is not None
            together.append(number)
            most.append(len(together))
            archive = workspace.outgoing()
            before = int(archive.read()) if archive is not None else 0
            if archive is not None:
                archive.close()
            workspace.receive(str(before + 1).encode())
            workspace.keep()
            together.remove(number)

    with ThreadPoolExecutor(8) as threads:
        with store.hold("run_1", SandboxLevel.NS, cancelled=NEVER):
            waiting = [threads.submit(count, number) for number in range(8)]
            assert fill(store, "run_2", b"meanwhile") == ""
            stopped = threading.Event()
            stopped.set()
            with store.hold("run_1", SandboxLevel.NS, cancelled=stopped) as workspace:
                assert workspace is None, "a cancelled call does not wait for its turn"
            assert together == []
        for each in waiting:
            each.result(timeout=20)
    assert set(most) == {1}
    assert content_of(store, "run_1") == b"8"


def test_runs_that_are_gone_take_their_workspaces_along(store: WorkspaceStore, tmp_path: Path) -> None:
    for run_id in ("lives", "gone", "held"):
        fill(store, run_id, b"x")
    half = tmp_path / "kept" / "lives.abc.incoming"
    half.touch()
    asked: list[list[str]] = []

    def known(runs: object) -> list[bool]:
        assert isinstance(runs, list)
        asked.append(runs)
        return [run_id == "lives" for run_id in runs]

    later = time.time() + GRACE_SECONDS + 1
    assert store.sweep(known) == [], "the first word of a new run may still be on its way"
    with store.hold("held", SandboxLevel.NS, cancelled=NEVER):
        assert store.sweep(known, now=later) == ["gone"]
        assert not half.exists()
    assert asked == [["gone", "held", "lives"]]
    assert content_of(store, "lives") == b"x"
    assert store.sweep(known, now=later) == ["held"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["lives.lock", "lives.tar"]


def test_the_folder_is_the_workers_alone(tmp_path: Path) -> None:
    store_for(SandboxSettings(workspace_mb=1), pool="shell", project_dir=tmp_path)
    folder = tmp_path / ".errandry" / "workspaces" / "shell"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    with pytest.raises(SandboxUnavailableError, match=r"is not this worker's alone\. Run chmod 700"):
        store_for(SandboxSettings(workspace_mb=1), pool="shell", project_dir=tmp_path)
    (tmp_path / "file").touch()
    settings = SandboxSettings(workspace_mb=1, workspace_dir=tmp_path / "file" / "w")
    with pytest.raises(SandboxUnavailableError, match="cannot be made: Not a directory"):
        store_for(settings, pool="shell", project_dir=tmp_path)


def test_a_pool_without_workspaces_has_no_store(tmp_path: Path) -> None:
    assert store_for(SandboxSettings(), pool="shell", project_dir=tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_run_is_the_first_part_of_the_key() -> None:
    assert run_of("run_1:2:call:3") == "run_1"
