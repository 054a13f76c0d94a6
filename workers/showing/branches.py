"""A tree of lines: with guides that keep within a terminal's width, or indented in a pipe, a line for each branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.text import Text
from rich.tree import Tree

from workers.terminal import clean, console, one_line, say


@dataclass
class Branch:
    """A line and what is below it."""

    words: str
    style: str = "default"
    below: list[Branch] = field(default_factory=list)


def print_branches(branches: Sequence[Branch]) -> None:
    """The branches one below the other."""
    for branch in branches:
        if console().is_terminal:
            console().print(_drawn(branch, Tree(_text(branch), guide_style="dim")), soft_wrap=False)
        else:
            _print_indented(branch, 0)


def _drawn(branch: Branch, tree: Tree) -> Tree:
    for below in branch.below:
        _drawn(below, tree.add(_text(below)))
    return tree


def _print_indented(branch: Branch, depth: int) -> None:
    say(f"{'  ' * depth}{one_line(branch.words)}")
    for below in branch.below:
        _print_indented(below, depth + 1)


def _text(branch: Branch) -> Text:
    return Text(clean(one_line(branch.words)), style=branch.style)
