"""What the lower levels grant, expect and refuse, without starting anything."""

from pathlib import Path

import pytest

from queues.settings import SandboxSettings
from workers.sandbox import landlock, lower_levels
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.levels import Level
from workers.sandbox.lower_levels import grants_of, landlock_level, landlock_of, shared_level
from workers.sandbox.visible import View, view_of

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="there is no Landlock in this kernel")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with something to hide at its top."""
    project = tmp_path / "project"
    for name in ("package", ".git"):
        (project / name).mkdir(parents=True)
        (project / name / "file").write_text("x")
    for name in (".env", ".env.local", "errandry.toml", "notes.txt"):
        (project / name).write_text("x")
    (project / "elsewhere").symlink_to("/root")
    return project


def level_of(settings: SandboxSettings, view: View) -> Level:
    return landlock_level(settings, view, seccomp=b"", environment={}, scratch="/tmp")


def test_of_a_folder_with_something_hidden_every_other_entry_is_granted(project: Path) -> None:
    grants = grants_of(view_of(project))

    inside = {path for path in grants.read if path.startswith(f"{project}")}
    assert inside == {f"{project}/package", f"{project}/notes.txt"}
    assert str(project) in grants.listed
    assert not any(path.startswith(f"{project}/") for path in grants.listed)
    assert grants.write == ()


def test_what_is_hidden_in_one_tree_and_shown_as_the_project_is_granted(project: Path) -> None:
    inner = project / ".errandry" / "demo"
    (inner / ".errandry").mkdir(parents=True)
    (inner / "tools.py").write_text("x")
    view = view_of(inner, mounts=SandboxSettings(read_only=(str(project),)).mounts)

    granted = {path for path in grants_of(view).read if path.startswith(f"{project}")}
    assert granted == {f"{project}/package", f"{project}/notes.txt", f"{inner}/tools.py"}


def test_without_anything_hidden_a_folder_is_granted_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")

    grants = grants_of(view_of(tmp_path))
    assert str(tmp_path) in grants.read
    assert str(tmp_path) not in grants.listed


def test_folders_to_write_to_are_granted_where_they_are(project: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    settings = SandboxSettings(level="landlock", read_write=(str(tmp_path / "shared"),))
    view = view_of(project, mounts=settings.mounts)

    level = level_of(settings, view)
    assert level.grants is not None
    assert level.renewed().write == (str(tmp_path / "shared"),)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            SandboxSettings(level="landlock", network="allowlist", allow_domains=("example.org",)),
            "needs network",
        ),
        (SandboxSettings(landlock="off"), "has it switched off"),
        (SandboxSettings(level="landlock", read_only=("/usr/share:/shown",)), "needs a mount namespace"),
    ],
)
def test_what_landlock_cannot_give_is_refused_with_a_reason(
    settings: SandboxSettings, words: str, tmp_path: Path
) -> None:
    with pytest.raises(SandboxUnavailableError, match=words):
        level_of(settings, view_of(tmp_path, mounts=settings.mounts))


def test_a_kernel_without_landlock_is_refused_or_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    view = view_of(tmp_path)

    with pytest.raises(SandboxUnavailableError, match="This kernel has none"):
        level_of(SandboxSettings(level="landlock"), view)
    with pytest.raises(SandboxUnavailableError, match='landlock = "require"'):
        landlock_of(SandboxSettings(landlock="require"))
    shared = shared_level(SandboxSettings(level="shared"), view, list, seccomp=b"", proc=True)
    assert "only_these_files" not in shared.plan.steps
    # Without it nothing keeps a call from signalling its zygote, which takes none.
    assert "stranger" not in shared.expected


@pytest.mark.parametrize("version", [1, 3, 5])
def test_what_an_older_landlock_leaves_open_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)

    level = level_of(SandboxSettings(level="landlock"), view_of(tmp_path))
    assert set(landlock.gaps(version)) <= set(level.gaps)
    assert level.detail["landlock_abi"] == version
    assert "stranger" not in level.expected


def test_an_empty_proc_is_named_and_nothing_needs_it(tmp_path: Path) -> None:
    with_proc, without = (
        shared_level(SandboxSettings(level="shared"), view_of(tmp_path), list, seccomp=b"", proc=proc)
        for proc in (True, False)
    )

    assert set(without.gaps) - set(with_proc.gaps) == {"/proc is empty"}
    assert set(with_proc.plan.steps) - set(without.plan.steps) == {"first_to_go"}


def test_every_step_is_known_and_the_filter_comes_last() -> None:
    from workers.sandbox.confinement import STEPS  # noqa: PLC0415 - beside its use

    for steps in (lower_levels.SHARED_STEPS, lower_levels.LANDLOCK_STEPS):
        assert set(steps) <= set(STEPS)
        assert steps.index("only_these_files") < steps.index("filtered")
        assert steps.index("own_session") < steps.index("filtered")
