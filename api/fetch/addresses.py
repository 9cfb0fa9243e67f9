"""Which addresses may be connected to: public ones, and those of networks that the operator has named."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from queuechat.errors import Misconfigured

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
#: Not for anybody's images, though `ipaddress` of some versions takes them for public: protocol assignments, ways
#: to carry IPv4 in IPv6, segment routing, documentation, and Azure's wire server, which tells secrets of its machine.
_ODD: tuple[Network, ...] = (
    *map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")),
    *map(IPv6Network, ("::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10")),
)


def networks(words: Sequence[str]) -> tuple[Network, ...]:
    """Raises Misconfigured for a word that is no network."""
    try:
        return tuple(ip_network(word) for word in words)
    except ValueError as error:
        raise Misconfigured(f"QUEUECHAT_IMAGE_NETWORKS: {error}; write networks as 10.1.0.0/16") from None


def reachable(text: str, permitted: Sequence[Network] = ()) -> bool:
    """Whether an address may be connected to; one that is wrapped in another counts as what it is."""
    try:
        address = _unwrapped(ip_address(text))
    except ValueError:
        return False
    if any(address in network for network in permitted if network.version == address.version):
        return True
    return _public(address)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else address


def _public(address: Address) -> bool:
    if any(address in network for network in _ODD if network.version == address.version):
        return False
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_private
    return address.is_global and not odd and not address.is_loopback
