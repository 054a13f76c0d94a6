"""The middle cut, the bounded capture and the redaction."""

from hypothesis import given
from hypothesis import strategies as st

from workers.sandbox.output import Capture, clean, cut_middle, redact


def test_short_text_is_left_alone() -> None:
    assert cut_middle("größe", 100) == ("größe", False)


def test_the_middle_is_replaced_by_a_mark() -> None:
    text, cut = cut_middle("a" * 600 + "b" * 600, 100)

    assert cut
    assert text == "a" * 50 + "\n[... 1100 bytes cut out here by the output limit ...]\n" + "b" * 50


@given(st.text(alphabet=st.characters(), max_size=400), st.integers(min_value=2, max_value=200))
def test_a_cut_text_is_valid_and_bounded(text: str, limit: int) -> None:
    shown, cut = cut_middle(text, limit)

    assert len(shown.encode("utf-8")) <= limit + 80
    assert cut == (len(text.encode("utf-8", "replace")) > limit)
    assert cut or shown == clean(text)


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(min_value=2, max_value=120))
def test_a_capture_keeps_both_ends_of_any_stream(chunks: list[bytes], limit: int) -> None:
    capture = Capture(limit)
    for chunk in chunks:
        capture.feed(chunk)
    stream = b"".join(chunks)

    assert capture.total_bytes == len(stream)
    assert capture.truncated == (len(stream) > 2 * (limit // 2))
    if not capture.truncated:
        assert capture.text({}) == stream.decode("utf-8", "replace")


def test_a_capture_never_grows_beyond_its_limit() -> None:
    capture = Capture(1000)
    for _ in range(1000):
        capture.feed(b"x" * 10_000)

    assert len(capture.text({})) < 1100
    assert "9999000 bytes cut out here" in capture.text({})


def test_secrets_are_replaced_in_every_spelling() -> None:
    secrets = {"TOKEN": 'a"b\né', "LONGER": 'a"b\né and more'}

    assert redact('raw a"b\né', secrets) == "raw [secret TOKEN]"
    assert redact('{"k": "a\\"b\\n\\u00e9"}', secrets) == '{"k": "[secret TOKEN]"}'
    assert redact('{"k": "a\\"b\\né"}', secrets) == '{"k": "[secret TOKEN]"}'
    assert redact('a"b\né and more', secrets) == "[secret LONGER]"
    assert redact("nothing", {"EMPTY": ""}) == "nothing"


@given(st.integers(min_value=0, max_value=60))
def test_no_part_of_a_secret_survives_a_cut(offset: int) -> None:
    capture = Capture(60)
    capture.feed(b"x" * offset + b"SECRETWORDS" + b"y" * (100 - offset))

    shown = capture.text({"TOKEN": "SECRETWORDS"}).replace("[secret TOKEN]", "")
    assert not any(letter in shown.replace("TOKEN", "") for letter in "SRW")


def test_lone_surrogates_are_replaced() -> None:
    assert clean("a\udc80b") == "a?b"
