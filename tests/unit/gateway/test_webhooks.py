"""Webhooks without a store: which URLs are taken, how deliveries are signed, and fairness among hosts."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from queues.errors import SettingsError, WebhookUrlError
from queues.settings_gateway import GatewaySettings
from queues.webhook_urls import MOST_CHARACTERS, checked_webhook_url
from workers.gateway.webhooks.hosts import Hosts
from workers.gateway.webhooks.service import WebhookSecret, check_webhook
from workers.gateway.webhooks.signing import keys_of, signed_headers

SIGNED = GatewaySettings(webhook_secret="env:S")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com:8080/a?b=c&d=%20#part",
        "https://[2606:4700::1]/x",
        "https://xn--p1ai/",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    checked_webhook_url(url)
    check_webhook(url, SIGNED)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "blanks"),
        ("ftp://example.com/", "must begin with https:// or http://"),
        ("example.com/hook", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("https://", "names no host"),
        ("https:///hook", "names no host"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:99999/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://user:hush@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("https://example.com/a b", "blanks"),
        ("https://example.com/\r\nHost: other", "blanks"),
        ("https://example.com\\@other/", "backslash"),
        ("https://exämple.com/", "xn--"),
        ("https://example.com/" + "x" * MOST_CHARACTERS, f"at most {MOST_CHARACTERS}"),
    ],
)
def test_urls_that_are_refused(url: str, sentence: str) -> None:
    with pytest.raises(WebhookUrlError) as caught:
        checked_webhook_url(url)
    assert sentence in str(caught.value) and str(caught.value).startswith("webhook_url")
    assert "hush" not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize("host", ["10.0.0.7", "127.0.0.1", "[::1]", "[fd00::1]", "[::ffff:192.168.1.1]"])
def test_a_private_address_is_refused_at_the_door_unless_allowed(host: str) -> None:
    with pytest.raises(WebhookUrlError, match="webhook_allow_private = true"):
        check_webhook(f"https://{host}/", SIGNED)
    check_webhook(f"https://{host}/", SIGNED.model_copy(update={"webhook_allow_private": True}))


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "224.0.0.1", "0.0.0.0", "[2002:7f00:1::]"])
def test_some_addresses_are_refused_whatever_is_allowed(host: str) -> None:
    for settings in (SIGNED, SIGNED.model_copy(update={"webhook_allow_private": True})):
        with pytest.raises(WebhookUrlError, match="which webhooks are not posted to"):
            check_webhook(f"https://{host}/", settings)


def test_without_a_secret_no_webhook_is_taken() -> None:
    with pytest.raises(WebhookUrlError, match="set webhook_secret in"):
        check_webhook("https://example.com/", GatewaySettings())


def test_the_convention_s_own_example_is_signed_alike() -> None:
    """The test vector that the convention's libraries share."""
    keys = keys_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", body, at=1614265330, keys=keys)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_rotate_both_sign() -> None:
    plain = "a secret without the prefix".replace(" ", "-")
    encoded = base64.b64encode(b"new").decode()
    headers = signed_headers("msg_1", b"{}", at=7, keys=keys_of(f"{plain}\n whsec_{encoded}"))
    expected = [hmac.new(key, b"msg_1.7.{}", hashlib.sha256).digest() for key in (plain.encode(), b"new")]
    assert headers["webhook-signature"].split() == ["v1," + base64.b64encode(one).decode() for one in expected]


@pytest.mark.parametrize("secret", [" \n", "whsec_", "whsec_!hush!"])
def test_a_secret_that_cannot_sign_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match="webhook_secret") as caught:
        keys_of(secret)
    assert "hush" not in str(caught.value) and caught.value.__cause__ is None


def test_the_secret_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")
    file.chmod(0o600)
    secret = WebhookSecret(GatewaySettings(webhook_secret=f"file:{file}"), {})
    assert secret.keys() == [b"old"]
    file.write_text("new old")
    assert secret.keys() == [b"new", b"old"]
    file.unlink()
    with pytest.raises(SettingsError, match=f"webhook_secret of .gateway. is file:{file}, but no such file"):
        secret.keys()
    assert WebhookSecret(GatewaySettings(), {}).keys() is None
    with pytest.raises(SettingsError, match="is env:S, but it is not set"):
        WebhookSecret(SIGNED, {}).keys()


@pytest.mark.parametrize("value", ["hush", "env:", "file:relative", "vault:x"])
def test_settings_take_a_reference_and_never_a_secret(value: str) -> None:
    with pytest.raises(ValueError, match="must say where the secret is found"):
        GatewaySettings(webhook_secret=value)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_host_takes_so_many_at_once_and_the_others_are_not_held_up() -> None:
    hosts = Hosts(at_once=2, clock=Clock())
    for _ in range(2):
        assert hosts.wait_seconds("slow") == 0
        hosts.begin("slow")
    assert hosts.wait_seconds("slow") > 0
    assert hosts.wait_seconds("other") == 0
    hosts.end("slow", took_seconds=1)
    assert hosts.wait_seconds("slow") == 0


def test_those_that_find_no_room_come_back_one_after_the_other() -> None:
    clock = Clock()
    hosts = Hosts(at_once=2, clock=clock)
    for _ in range(3):
        hosts.begin("slow")
    hosts.end("slow", took_seconds=8)
    waits = [hosts.wait_seconds("slow") for _ in range(200)]
    assert waits == sorted(waits)
    assert waits[2] - waits[1] == pytest.approx(4)  # two at a time, eight seconds each
    assert waits[-1] == 300


def test_a_host_that_gives_no_answer_rests_ever_longer_and_is_asked_one_at_a_time() -> None:
    clock = Clock()
    hosts = Hosts(at_once=2, clock=clock)
    for _ in range(2):
        hosts.gave_no_answer("dead", "connection refused")
    assert hosts.resting("dead") is None
    hosts.gave_no_answer("dead", "connection refused")
    assert hosts.resting("dead") == "connection refused"
    clock.now += 6
    assert hosts.resting("dead") is None
    hosts.begin("dead")
    assert hosts.wait_seconds("dead") > 0
    hosts.gave_no_answer("dead", "connection refused")
    clock.now += 6
    assert hosts.resting("dead") is not None
    hosts.answered("dead")
    assert hosts.resting("dead") is None and hosts.wait_seconds("dead") == 0


def test_hosts_that_come_once_are_forgotten() -> None:
    clock = Clock()
    hosts = Hosts(at_once=2, clock=clock)
    for name in ("quiet", "busy", "dead"):
        hosts.begin(name)
    for name in ("quiet", "dead"):
        hosts.end(name, took_seconds=8)
    for _ in range(3):
        hosts.gave_no_answer("dead", "timed out")
    hosts.forget_the_quiet()
    assert set(hosts._hosts) == {"busy", "dead"}
    clock.now += 1000
    hosts.forget_the_quiet()
    assert set(hosts._hosts) == {"busy"}
