"""A small image out of this machine's own files, so that a container engine can be tried without any registry.

It holds a shell, a few programs and the libraries that the tests' interpreter needs; the interpreter is mounted.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.engines import Engine, find_engine

NAME = "localhost/errandry-test:latest"
_PROGRAMS = ("sh", "sleep", "cat", "echo", "id", "ls", "env", "wc")
_FOLDERS = ("tmp", "proc", "dev", "sys", "etc", "run", "home", "usr")


@cache
def engine_with_image() -> Engine:
    """An engine that has the image; skips the test where no engine answers."""
    try:
        engine = find_engine()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    made = subprocess.run(
        engine.words("import", "-", NAME), input=_archive(), capture_output=True, check=False, timeout=120
    )
    if made.returncode != 0:
        pytest.skip(f"{engine.name} takes no image here: {made.stderr.decode()[-300:]}")
    return engine


def _archive() -> bytes:
    programs = [Path(found).resolve() for name in _PROGRAMS if (found := shutil.which(name))]
    core = find_spec("pydantic_core._pydantic_core")
    modules = [*Path(sys.base_prefix, "lib").glob("python3*/lib-dynload/*.so"), Path(sys.executable).resolve()]
    modules += [Path(core.origin)] if core is not None and core.origin is not None else []
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        for name, program in zip(_PROGRAMS, programs, strict=True):
            archive.add(program, f"bin/{name}")
        for library in _libraries([*programs, *modules]):
            archive.add(Path(library).resolve(), library.lstrip("/"))
        zone = Path("/usr/share/zoneinfo/Europe/Berlin")
        if zone.exists():
            archive.add(zone.resolve(), str(zone).lstrip("/"))
    return whole.getvalue()


def _libraries(files: list[Path]) -> list[str]:
    said = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False).stdout
    found = set(re.findall(r"(/[^\s:]+\.so[^\s:]*) \(", said))
    return sorted(library for library in found if not Path(library).resolve().is_relative_to(sys.base_prefix))
