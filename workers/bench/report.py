"""The file of figures: all samples, with what follows from them, and the machine that they were taken on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import from_json

from workers.bench.errors import BenchFileError
from workers.bench.figures import Figure
from workers.bench.machine import Machine

SCHEMA: Literal[1] = 1
_KIND: Literal["errandry bench"] = "errandry bench"


class Report(BaseModel):
    """Everything that one command measured. `runs` is how many runs were carried through to their end for it."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    kind: Literal["errandry bench"] = _KIND
    schema_number: Literal[1] = Field(default=SCHEMA, alias="schema")
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    quick: bool
    machine: Machine
    runs: int
    figures: list[Figure]
    details: dict[str, JsonValue] = Field(default_factory=dict)


def write_report(report: Report, path: Path) -> None:
    """Write the file, whole or not at all; BenchFileError if that is impossible."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise BenchFileError(f"{path} cannot be written: {error.strerror}.") from error


def ensure_writable(path: Path) -> None:
    """BenchFileError if a file of this name could not be written; told before anything is measured."""
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise BenchFileError(f"{path} cannot be written: name a file in a folder that is there.")


def read_report(path: Path) -> Report:
    """The figures of an earlier command; BenchFileError says why the file is of no use."""
    try:
        stored = from_json(path.read_bytes())
    except OSError as error:
        raise BenchFileError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BenchFileError(f"{path} is no file of `errandry bench --json`: it is not JSON ({error}).") from error
    if not isinstance(stored, dict) or stored.get("kind") != _KIND:
        raise BenchFileError(f"{path} is no file of `errandry bench --json`.")
    if stored.get("schema") != SCHEMA:
        raise BenchFileError(
            f"{path} has schema {stored.get('schema')}, and this release compares schema {SCHEMA} only; measure anew "
            "with the release that is to be compared."
        )
    try:
        return Report.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BenchFileError(f"{path} is damaged at {place}: {first['msg']}.") from error
