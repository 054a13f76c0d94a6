"""The supervisor's ends of a process that waits: whether it read a word, whether it lives, that nothing stays open."""

import gc
import os
from pathlib import Path

import pytest

from workers.sandbox.children import Child, new_ends


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_whether_a_word_of_the_request_was_read_can_be_told_without_asking() -> None:
    ends = new_ends()
    os.write(ends.child.request, b"request")

    assert not ends.child.has_read(7)
    os.read(ends.request, 1)
    assert ends.child.has_read(7)
    ends.close()
    ends.child.close()


def test_nothing_stays_open_and_the_end_is_told_once() -> None:
    gc.collect()  # what other tests left to it is not to be closed in between
    before = _descriptors()
    told: list[bool] = []
    ends = new_ends(("listener", "archive_in", "archive_out"))
    child: Child = ends.child
    child.over = told.append
    assert set(child.handed) == {"listener", "archive_in", "archive_out"}

    ends.close()
    child.close(unknown=True)
    child.close()

    assert _descriptors() == before
    assert told == [True]


@pytest.mark.parametrize(("written", "words"), [(b"\x06", ""), (b"x", "it ended without a word")])
def test_only_the_agreed_byte_means_that_the_wall_stands(written: bytes, words: str) -> None:
    ends = new_ends()
    pidfd = os.pidfd_open(os.getpid())
    ends.report.send(b'{"started": true}')
    ends.child.pidfd = pidfd
    os.write(ends.answer, written)
    started = []

    assert ends.child.await_sealed(5, started=lambda: started.append(True)) == words
    assert started == [True]
    ends.close()
    ends.child.close()


def test_one_that_never_gets_ready_is_given_up() -> None:
    ends = new_ends()

    assert ends.child.await_sealed(0.05, started=lambda: None) == "it does not get ready in time"
    ends.close()
    ends.child.close()


def test_one_whose_zygote_went_away_is_told_from_one_that_waits() -> None:
    ends = new_ends()
    assert ends.child.lives()

    ends.close()
    assert not ends.child.lives()
    ends.child.close()
