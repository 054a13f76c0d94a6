"""Payloads that take more memory than they may, by every way that memory is had."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import time
import zlib

from tests.support.hostile.attempts import LIBC, Targets, system_call

_MEGABYTE = b"x" * (1 << 20)


def take_memory(targets: Targets) -> str:
    """By one large object after the other."""
    kept = []
    for _ in range(targets["limits"]["memory_mb"] * 3):
        kept.append(bytearray(_MEGABYTE))
    time.sleep(1)
    return f"took {len(kept)} MiB"


def take_memory_by_mapping(targets: Targets) -> str:
    """Anonymous pages, shared ones too."""
    kept = []
    for number in range(targets["limits"]["memory_mb"] * 3 // 16):
        kept.append(mmap.mmap(-1, 16 << 20, flags=mmap.MAP_ANONYMOUS | (mmap.MAP_PRIVATE, mmap.MAP_SHARED)[number % 2]))
        for offset in range(0, 16 << 20, 4096):
            kept[-1][offset] = 1
    time.sleep(1)
    return f"took {len(kept) * 16} MiB"


def take_memory_in_children(targets: Targets) -> str:
    """Each of them below the limit."""
    for _ in range(11):
        if os.fork() == 0:
            break
    kept = [bytearray(_MEGABYTE) for _ in range(targets["limits"]["memory_mb"] // 3)]
    time.sleep(1.5)
    return f"took 12 times {len(kept)} MiB"


def take_memory_in_orphans(targets: Targets) -> str:
    """The same, in processes that no longer have a parent."""
    for _ in range(8):
        if os.fork() == 0:
            with contextlib.suppress(OSError):
                os.setsid()
            if os.fork() == 0:
                kept = [bytearray(_MEGABYTE) for _ in range(targets["limits"]["memory_mb"] // 3)]
                time.sleep(20)
                os._exit(len(kept) & 1)
            os._exit(0)
    time.sleep(2)
    return "took 8 times a third"


def take_memory_without_a_process(targets: Targets) -> str:
    """In files that exist in memory only; no address space holds them."""
    taken = 0
    for _ in range(targets["limits"]["memory_mb"] * 3 // 4):
        fd = system_call(319, b"hog", 0)
        for _ in range(4):
            os.write(fd, _MEGABYTE)
            taken += 1
    time.sleep(1)
    return f"took {taken} MiB"


def take_memory_by_shared_segments(targets: Targets) -> str:
    """System V segments outlive their makers."""
    taken = 0
    LIBC.shmat.restype = ctypes.c_void_p
    for _ in range(targets["limits"]["memory_mb"] * 3 // 16):
        segment = system_call(29, 0, 16 << 20, 0o1600)
        place = LIBC.shmat(segment, None, 0)
        ctypes.memset(place, 1, 16 << 20)
        LIBC.shmdt(ctypes.c_void_p(place))
        taken += 16
    time.sleep(1)
    return f"took {taken} MiB"


def take_memory_by_sockets_and_pipes(targets: Targets) -> str:
    """The kernel's own buffers."""
    kept: list[int] = []
    with contextlib.suppress(OSError):
        while len(kept) < 400:
            _, writing = os.pipe()
            kept.append(writing)
            with contextlib.suppress(OSError):
                system_call(72, writing, 1031, 1 << 20)
            os.set_blocking(writing, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writing, _MEGABYTE)
    return "filled"


def unpack_a_bomb(targets: Targets) -> str:
    """A few kilobytes that become gigabytes."""
    packer = zlib.compressobj(9)
    packed = (
        b"".join(packer.compress(bytes(1 << 20)) for _ in range(targets["limits"]["memory_mb"] * 4)) + packer.flush()
    )
    return f"unpacked {len(zlib.decompress(packed)) >> 20} MiB"


def give_a_huge_result(targets: Targets) -> str:
    """More text than anybody wants to read."""
    return "x" * int(targets["limits"]["output_kb"] * 1024 * 20)
