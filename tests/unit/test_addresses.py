"""Which addresses a tool may be led to."""

from ipaddress import ip_address

import pytest

from workers.addresses import refusal

PRIVATE = [
    "10.0.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.1.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "5f00::1",
]
METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "2a00:1450::5"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_want_to_be_allowed(address: str) -> None:
    assert refusal(ip_address(address), allow_private=False) == "a private address"
    assert refusal(ip_address(address), allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_reserved_addresses_are_never_allowed(address: str) -> None:
    for allowed in (False, True):
        assert refusal(ip_address(address), allow_private=allowed) == "a link-local, multicast or reserved address"


@pytest.mark.parametrize("address", METADATA)
def test_metadata_is_never_allowed(address: str) -> None:
    for allowed in (False, True):
        assert refusal(ip_address(address), allow_private=allowed) == "a metadata address"


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_allowed(address: str) -> None:
    assert refusal(ip_address(address), allow_private=False) is None


@pytest.mark.parametrize("around", ["::ffff:{}", "64:ff9b::{}"])
def test_an_address_inside_another_counts(around: str) -> None:
    assert refusal(ip_address(around.format("8.8.8.8")), allow_private=False) is None
    assert refusal(ip_address(around.format("10.0.0.1")), allow_private=False) == "a private address"
    assert refusal(ip_address(around.format("169.254.169.254")), allow_private=True) == "a metadata address"
    assert refusal(ip_address(around.format("224.0.0.1")), allow_private=True) is not None
