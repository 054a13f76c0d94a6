"""Runs a system call filter as the kernel would, for calls of any machine.

It knows the instructions that the product's filters use, and no others.
"""

import struct
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Call:
    """A system call as a filter sees it."""

    number: int
    audit_number: int
    arguments: tuple[int, ...] = (0, 0, 0, 0, 0, 0)


def verdict(program: bytes, call: Call) -> int | Literal["allow", "kill"]:
    """What becomes of the call: an error number, or allow, or kill. Fails on a program that does not end."""
    seen = struct.pack("=IIQ6Q", call.number, call.audit_number, 0, *call.arguments)
    steps = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    for _ in range(len(steps)):
        code, if_true, if_false, operand = steps[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", seen, operand)
            case 0x54:
                accumulator &= operand
            case 0x05:
                place += operand
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case 0x06 if operand == 0x7FFF0000:
                return "allow"
            case 0x06 if operand == 0x80000000:
                return "kill"
            case 0x06:
                assert operand >> 16 == 5
                return int(operand & 0xFFFF)
            case _:
                raise AssertionError(f"unknown step {code:#x}")
    raise AssertionError("the program does not end")
