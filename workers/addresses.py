"""Which addresses a tool or a webhook may be led to: the internet's own, private ones only where settings say so.

It never looks a name up; it is asked about addresses that are about to be connected to.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# Where clouds keep their machines' credentials. Nobody gets at these, whatever the settings allow.
_METADATA = tuple(
    ip_address(address)
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
    )
)
_PRIVATE_4 = tuple(
    IPv4Network(network)
    for network in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_NEVER_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PRIVATE_6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
# Everything outside is loopback, link-local, multicast, translated or not given out.
_INTERNET_6 = IPv6Network("2000::/3")
# Tunnels that carry an address of the older kind, and addresses for examples.
_NEVER_6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """What kind of address this is, if it must not be connected to; None if it may be."""
    within = _translated(address)
    if within in _METADATA:
        return "a metadata address"
    if isinstance(within, IPv4Address):
        never, private = any(within in network for network in _NEVER_4), any(within in net for net in _PRIVATE_4)
    else:
        private = any(within in network for network in _PRIVATE_6)
        inside = within in _INTERNET_6 and not any(within in network for network in _NEVER_6)
        never = not inside and not private
    if never or getattr(within, "scope_id", None) is not None:
        return "a link-local, multicast or reserved address"
    return "a private address" if private and not allow_private else None


def _translated(address: Address) -> Address:
    """The older address that a newer one stands for, where it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
