"""Live output by a clock that the test moves."""

from hypothesis import given
from hypothesis import strategies as st

from workers.sandbox.live import CUT, MOST_LOOKS, MOST_TURNS, PAUSE_SECONDS, PIECE_BYTES, LiveOutput
from workers.sandbox.output import Capture

SECRET = "s3cr3t/4711"


class Call:
    """One call with two streams, and what its readers are told."""

    def __init__(self, limit_bytes: int = 100_000, **secrets: str) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.kept = Capture(1000)
        self.live = LiveOutput(self.told.append, secrets=secrets, limit_bytes=limit_bytes, clock=lambda: self.now)
        self.stdout = self.live.beside(self.kept.feed)
        self.stderr = self.live.beside(lambda chunk: None)

    def look_after(self, seconds: float) -> list[str]:
        """What is told anew if so much time has passed."""
        self.now += seconds
        before = len(self.told)
        self.live.look()
        return self.told[before:]

    def end(self) -> list[str]:
        before = len(self.told)
        self.live.close()
        return self.told[before:]


def test_what_comes_within_the_pause_is_one_piece() -> None:
    call = Call()
    call.live.look()
    call.stdout(b"one\n")
    assert call.look_after(PAUSE_SECONDS / 2) == []
    call.stdout(b"two\n")
    assert call.look_after(PAUSE_SECONDS / 2) == ["one\ntwo\n"]
    assert call.look_after(60) == []
    call.stdout(b"three\n")
    assert call.look_after(0) == []
    assert call.end() == ["three\n"]
    assert call.end() == []


def test_both_streams_are_told_in_the_order_in_which_they_came() -> None:
    call = Call()
    for write, line in ((call.stdout, b"1"), (call.stderr, b"2"), (call.stderr, b"3"), (call.stdout, b"4")):
        write(line)
    assert call.look_after(PAUSE_SECONDS) == ["1234"]


def test_streams_that_take_turns_all_the_time_are_told_whole_though_not_in_order() -> None:
    call = Call()
    for _ in range(MOST_TURNS):
        call.stdout(b"o")
        call.stderr(b"e")
    (told,) = call.look_after(PAUSE_SECONDS)
    assert told.startswith("oeoeoe")
    assert sorted(told) == ["e"] * MOST_TURNS + ["o"] * MOST_TURNS


def test_a_flood_is_told_in_pieces_one_at_a_time_and_the_rest_at_the_end() -> None:
    call = Call()
    call.stdout("é".encode() * 2 * PIECE_BYTES)
    assert call.look_after(PAUSE_SECONDS) == ["é" * (PIECE_BYTES // 2)]
    assert call.look_after(PAUSE_SECONDS / 2) == []
    assert call.look_after(PAUSE_SECONDS / 2) == ["é" * (PIECE_BYTES // 2)]
    assert call.end() == ["é" * (PIECE_BYTES // 2)] * 2


def test_beyond_the_limit_a_mark_is_told_and_nothing_more() -> None:
    call = Call(limit_bytes=6)
    call.stdout(b"1234")
    assert call.look_after(PAUSE_SECONDS) == ["1234"]
    call.stderr(b"5678")
    call.stdout(b"9")
    assert call.look_after(PAUSE_SECONDS) == [f"56{CUT}"]
    call.stdout(b"more")
    assert call.look_after(PAUSE_SECONDS) == []
    assert call.end() == []
    assert call.kept.text({}) == "12349more", "what a result shows of it is bounded by itself"


def test_exactly_the_limit_needs_no_mark() -> None:
    call = Call(limit_bytes=4)
    call.stdout(b"1234")
    assert call.end() == ["1234"]
    call = Call(limit_bytes=4)
    call.stdout(b"1234")
    assert call.look_after(PAUSE_SECONDS) == ["1234"]
    call.stdout(b"5")
    assert call.look_after(PAUSE_SECONDS) == [CUT]


def test_a_letter_now_and_then_is_told_so_often_and_no_more() -> None:
    call = Call()
    for _ in range(2 * MOST_LOOKS):
        call.stdout(b".")
        call.look_after(PAUSE_SECONDS)
    call.end()
    assert len(call.told) == MOST_LOOKS
    assert "".join(call.told) == "." * MOST_LOOKS + CUT


def test_a_character_is_never_told_in_halves() -> None:
    call = Call()
    whole = "größe ✓\n".encode()
    for place in range(len(whole)):
        call.stdout(whole[place : place + 1])
        call.look_after(PAUSE_SECONDS)
    call.stdout(b"\xff \xe2\x9c")
    call.end()
    assert "".join(call.told) == "größe ✓\n\ufffd \ufffd"


def test_a_secret_over_two_pieces_is_told_as_a_mark() -> None:
    call = Call(TOKEN=SECRET)
    call.stdout(f"key {SECRET[:5]}".encode())
    assert call.look_after(PAUSE_SECONDS) == ["key "]
    call.stderr(SECRET.encode())
    assert call.look_after(PAUSE_SECONDS) == ["[secret TOKEN]"]
    call.stdout(f"{SECRET[5:]} end\n".encode())
    assert call.look_after(PAUSE_SECONDS) == ["[secret TOKEN] end\n"]


def test_of_a_secret_that_the_limit_halves_nothing_is_told() -> None:
    call = Call(limit_bytes=10, TOKEN=SECRET)
    call.stdout(f"key {SECRET}".encode())
    assert call.end() == [f"key {CUT}"]


def test_nothing_is_told_of_nothing() -> None:
    call = Call(TOKEN=SECRET)
    call.stdout(SECRET[:3].encode())
    assert call.look_after(PAUSE_SECONDS) == []
    assert call.end() == [SECRET[:3]]
    assert Call().end() == []


@given(st.lists(st.tuples(st.binary(max_size=12), st.floats(0, 0.3)), max_size=20), st.integers(1, 80))
def test_whatever_comes_is_bounded_whole_and_in_order(chunks: list[tuple[bytes, float]], limit: int) -> None:
    call = Call(limit_bytes=limit, TOKEN=SECRET)
    for chunk, seconds in chunks:
        call.stdout(chunk)
        call.look_after(seconds)
    call.end()
    written = b"".join(chunk for chunk, _ in chunks)

    expected = written[:limit].decode("utf-8", "replace")
    told = "".join(call.told)
    if len(written) <= limit:
        assert told == expected
    else:
        assert told.endswith(CUT) and expected.startswith(told.removesuffix(CUT))
    assert all(call.told)
