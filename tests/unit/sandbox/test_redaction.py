"""Secrets in a text that comes piece by piece."""

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st

from workers.sandbox.output import redact
from workers.sandbox.redaction import Redaction

SECRETS = {"TOKEN": "s3cr3t/4711-and-more"}


def through(pieces: list[str], secrets: dict[str, str]) -> list[str]:
    """What is shown after each piece, and at the end."""
    redaction = Redaction(secrets)
    return [*(redaction.feed(piece) for piece in pieces), redaction.rest()]


def test_a_secret_that_is_split_anywhere_does_not_leak() -> None:
    secret = SECRETS["TOKEN"]
    for form in (secret, secret.encode().hex(), b64encode(secret.encode()).decode()):
        text = f"before {form} after"
        for cut in range(1, len(text)):
            shown = through([text[:cut], text[cut:]], SECRETS)
            assert "".join(shown) == redact(text, SECRETS)


def test_letter_by_letter_the_same_comes_out() -> None:
    text = f"x{SECRETS['TOKEN']}{SECRETS['TOKEN']}y s3cr3t/ z"
    assert "".join(through(list(text), SECRETS)) == "x[secret TOKEN][secret TOKEN]y s3cr3t/ z"


def test_what_can_be_no_secret_is_shown_at_once() -> None:
    shown = through(["a line\n", "another s3", "nsible one\n"], SECRETS)
    assert shown == ["a line\n", "another ", "s3nsible one\n", ""]


def test_the_beginning_of_a_secret_is_shown_only_when_nothing_follows() -> None:
    assert through(["it is s3cr3t/47"], SECRETS) == ["it is ", "s3cr3t/47"]


def test_a_whole_secret_within_the_beginning_of_a_longer_one_is_not_shown() -> None:
    secrets = {"LONG": "key-12345-tail", "SHORT": "12345"}
    assert through(["key-12345", "!"], secrets) == ["", "key-[secret SHORT]!", ""]
    assert through(["key-12345", "-tail"], secrets) == ["", "[secret LONG]", ""]
    assert through(["key-12345"], secrets) == ["", "key-[secret SHORT]"]


def test_of_overlapping_secrets_nothing_is_shown() -> None:
    secrets = {"ONE": "xab", "TWO": "abc"}
    for cut in range(5):
        assert "".join(through(["xabc"[:cut], "xabc"[cut:]], secrets)) == "[secret ONE]"
    assert "".join(through(["xab", "q"], secrets)) == "[secret ONE]q"


def test_without_secrets_nothing_is_held_back() -> None:
    assert through(["a", "b"], {}) == ["a", "b", ""]


_secret = st.text("ab", min_size=1, max_size=5)


@given(st.lists(_secret, min_size=1, max_size=3), st.lists(st.text("abc", max_size=6), max_size=8))
def test_nothing_depends_on_where_the_text_is_cut(secrets: list[str], pieces: list[str]) -> None:
    named = {f"N{place}": secret for place, secret in enumerate(secrets)}
    shown = "".join(through(pieces, named))

    assert shown == "".join(through(["".join(pieces)], named))
    assert not any(secret in part for secret in secrets for part in shown.replace("]", "[").split("[")[::2])


@given(_secret, st.lists(st.text("abc", max_size=6), max_size=8))
def test_what_stands_alone_is_replaced_as_in_a_result(secret: str, pieces: list[str]) -> None:
    text = f"c{secret}c".join(piece.replace("a", "c").replace("b", "c") for piece in pieces)
    named = {"N": secret}

    assert "".join(through([text], named)) == redact(text, named)
