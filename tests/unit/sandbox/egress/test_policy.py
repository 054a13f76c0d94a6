"""What a pool's list of domains lets through, and the sentences for what it does not."""

from ipaddress import ip_address

import pytest

from workers.sandbox.egress.policy import Policy, normal_host

POLICY = Policy(domains=("example.com", "*.example.org", "93.184.216.34", "2606:4700::1111"), ports=(443, 8443))


@pytest.mark.parametrize(
    "host", ["example.com", "a.example.org", "a.b.example.org", "93.184.216.34", "2606:4700::1111"]
)
def test_listed_hosts_pass(host: str) -> None:
    assert POLICY.refused(host, 443) is None


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "www.example.com",
        "badexample.org",
        "example.com.evil.net",
        "93.184.216.35",
        "org",
        "1.example.com",
    ],
)
def test_others_are_refused_by_name(host: str) -> None:
    words = POLICY.refused(host, 443)
    assert words is not None
    assert words.startswith(f"{host} is not in this pool's allow_domains.")
    assert "example.com, *.example.org" in words


def test_a_wildcard_covers_no_address() -> None:
    assert Policy(domains=("*.34",)).refused("93.184.216.34", 443) is not None


def test_ports_are_refused_with_those_that_are_allowed() -> None:
    words = POLICY.refused("example.com", 22)
    assert words == ("Port 22 is not in this pool's allow_ports. On example.com use one of these ports: 443, 8443.")


def test_one_bad_address_condemns_the_name() -> None:
    good, bad = ip_address("93.184.216.34"), ip_address("127.0.0.1")
    assert POLICY.refused_address("example.com", [good]) is None
    words = POLICY.refused_address("example.com", [good, bad])
    assert words == "example.com leads to 127.0.0.1, a private address, which this pool may not reach."


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Example.COM.", "example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[0:0::1]", "::1"),
        ("a_b.example", "a_b.example"),
        ("127.1", None),
        ("2130706433", None),
        ("0x7f000001", None),
        ("a.0x7f", None),
        ("a..b", None),
        ("", None),
        (".", None),
        ("exa mple", None),
        ("ex\u00e4mple.com", None),
        ("example.com%2eevil", None),
        ("a" * 64 + ".com", None),
        ("a." * 130 + "com", None),
    ],
)
def test_hosts_have_one_form_or_none(written: str, normal: str | None) -> None:
    assert normal_host(written) == normal


def test_a_policy_survives_its_way_to_the_proxy() -> None:
    assert Policy.from_json(POLICY.to_json()) == POLICY
