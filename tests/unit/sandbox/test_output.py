"""The middle cut, the bounded capture and the redaction."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

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


@given(
    st.binary(min_size=6, max_size=60).map(lambda raw: raw.hex()[: len(raw)]),
    st.binary(max_size=20),
    st.binary(max_size=20),
)
def test_secrets_are_replaced_inside_longer_encoded_texts(secret: str, before: bytes, after: bytes) -> None:
    whole = before + secret.encode() + after
    mark = "[secret TOKEN]"
    for written in (b64encode(whole), urlsafe_b64encode(whole)):
        shown = redact(written.decode(), {"TOKEN": secret})
        assert mark in shown
        # What is left of it are the letters that the neighbours determine as well.
        assert len(shown) - len(mark) <= len(written) - (8 * len(secret) // 6 - 2)
    assert redact(whole.hex(), {"TOKEN": secret}).count(mark) >= 1


def test_secrets_are_replaced_in_answers_inside_answers() -> None:
    secret = 'tok-"quoted"/é+4711'
    text = json.dumps({"inner": json.dumps({"value": json.dumps(secret)})})
    assert "4711" not in redact(text, {"TOKEN": secret})
    assert redact("3132 MTI= 12", {"PIN": "12"}) == "3132 MTI= [secret PIN]", "too short to be known when encoded"


def test_secrets_are_replaced_in_addresses() -> None:
    secrets = {"TOKEN": "p/a s+s&w?ö"}
    assert redact(f"https://me:{quote('p/a s+s&w?ö', safe='')}@host/", secrets) == "https://me:[secret TOKEN]@host/"
    assert redact(f"?key={quote_plus('p/a s+s&w?ö')}", secrets) == "?key=[secret TOKEN]"


def test_a_key_is_replaced_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nEFAASCBKcwggSjAgEAAoIBAQ\n-----END KEY-----\n"
    shown = redact("  MIIEvQIBADANBgkqhkiG9w0BAQ\n  EFAASCBKcwggSjAgEAAoIBAQ\n", {"KEY": key})
    assert shown == "  [secret KEY]\n  [secret KEY]\n"


def test_a_secret_larger_than_what_is_kept_leaves_nothing_of_itself() -> None:
    capture = Capture(60)
    capture.feed(b"SECRETWORDS" * 20)
    assert "SECRET" not in capture.text({"TOKEN": "SECRETWORDS" * 10})


@given(st.integers(min_value=0, max_value=60))
def test_no_part_of_a_secret_survives_a_cut(offset: int) -> None:
    capture = Capture(60)
    capture.feed(b"x" * offset + b"SECRETWORDS" + b"y" * (100 - offset))

    shown = capture.text({"TOKEN": "SECRETWORDS"}).replace("[secret TOKEN]", "")
    assert not any(letter in shown.replace("TOKEN", "") for letter in "SRW")


def test_lone_surrogates_are_replaced() -> None:
    assert clean("a\udc80b") == "a?b"
