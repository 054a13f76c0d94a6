"""Adds commands to the app, each with a help page made of its docstring and examples; parses nothing itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer


def add(app: typer.Typer, command: Callable[..., object], *examples: str, name: str | None = None) -> None:
    """Add a command; the first paragraph of its docstring is what the list of commands shows."""
    app.command(
        name,
        help=_rewrapped(inspect.getdoc(command) or ""),
        epilog="\n\n".join(f"Example: {_plain(example)}" for example in examples),
    )(command)


def _rewrapped(text: str) -> str:
    """Paragraphs as one line each: the terminal's width decides about line ends, not the source's."""
    return _plain("\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n")))


def _plain(text: str) -> str:
    # Rich would take [pools.shell] for a style.
    return text.replace("[", r"\[")
