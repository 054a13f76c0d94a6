"""Puts rules about system calls into the form that the kernel runs: a search tree over the numbers, tests below it.

It never decides which calls those are; see `syscalls`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Step = tuple[int, int, int, int]

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST = 0x05, 0x15, 0x35
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
# How far a conditional jump reaches.
_REACH = 255
_ALL_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Test:
    """Whether 32 bits of an argument, those under `mask`, are among the values; or, `negated`, are not among them."""

    argument: int
    values: tuple[int, ...]
    mask: int = _ALL_BITS
    negated: bool = False
    upper_half: bool = False


@dataclass(frozen=True)
class Rule:
    """A call is let through if all tests of one clause hold; without any clause it never is. Else it fails so."""

    error: int
    clauses: tuple[tuple[Test, ...], ...] = ()


def assemble(rules: Mapping[int, Rule | None], *, audit_number: int, unknown_error: int) -> bytes:
    """The program: numbers with None pass, those with a rule are judged by it, all others fail with `unknown_error`.

    A call in another machine's convention ends the process: its numbers mean something else. So does every number
    beyond the last known one fail, and with them the second set of numbers of x86-64, which begins at 0x40000000.
    """
    head: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_IF_EQUAL, 1, 0, audit_number),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    unknown = Rule(unknown_error)
    ranges: list[tuple[int, Rule | None]] = []
    for number in range(max(rules) + 2):
        rule = rules.get(number, unknown)
        if not ranges or ranges[-1][1] != rule:
            ranges.append((number, rule))
    return b"".join(struct.pack("=HBBI", *step) for step in (*head, *_tree(ranges)))


def _tree(ranges: Sequence[tuple[int, Rule | None]]) -> list[Step]:
    if len(ranges) == 1:
        return _judgement(ranges[0][1])
    middle = len(ranges) // 2
    below, above = _tree(ranges[:middle]), _tree(ranges[middle:])
    number = ranges[middle][0]
    if len(below) <= _REACH:
        return [(_JUMP_IF_AT_LEAST, len(below), 0, number), *below, *above]
    return [(_JUMP_IF_AT_LEAST, 0, 1, number), (_JUMP, 0, 0, len(below)), *below, *above]


def _judgement(rule: Rule | None) -> list[Step]:
    if rule is None:
        return [(_RETURN, 0, 0, _ALLOW)]
    return [step for clause in rule.clauses for step in _clause(clause)] + [(_RETURN, 0, 0, _ERRNO | rule.error)]


def _clause(tests: Sequence[Test]) -> list[Step]:
    """The tests one after the other; the first that does not hold jumps behind the clause."""
    steps: list[Step] = [(_RETURN, 0, 0, _ALLOW)]
    for test in reversed(tests):
        steps = [*_test(test, to_the_end=len(steps)), *steps]
    return steps


def _test(test: Test, *, to_the_end: int) -> list[Step]:
    # Both machines are little-endian: the lower half of an argument comes first.
    offset = _ARGUMENTS_OFFSET + 8 * test.argument + (4 if test.upper_half else 0)
    steps: list[Step] = [(_LOAD, 0, 0, offset)]
    if test.mask != _ALL_BITS:
        steps.append((_AND, 0, 0, test.mask))
    for left, value in reversed(list(enumerate(reversed(test.values)))):
        # A value that is met skips the rest of this test, or, negated, of the whole clause.
        met = left + (to_the_end if test.negated else 0)
        missed = to_the_end if left == 0 and not test.negated else 0
        steps.append((_JUMP_IF_EQUAL, met, missed, value))
    return steps
