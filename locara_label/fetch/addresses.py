"""Which network addresses are public, and what a name resolves to."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from locara_label.errors import FetchFailed
from locara_label.fetch.budget import POLL_S, Budget

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""A host and a port to all its addresses; raises OSError where there are none."""

_NAT64 = IPv6Network("64:ff9b::/96")
_IPV6_UNICAST = IPv6Network("2000::/3")
# what `is_global` of some Python versions calls global; Teredo and 6to4 are tunnels whose end can be any IPv4 address
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
# link-local, multicast, and where clouds keep the credentials of a machine
_NEVER_BY_NAME = tuple(
    ip_network(text) for text in ("169.254.0.0/16", "100.100.100.200/32", "224.0.0.0/3", "fe80::/10", "fd00:ec2::/32", "ff00::/8")
)


def system_resolver(host: str, port: int) -> list[str]:
    """All addresses that the system knows, in its order."""
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def resolve(resolver: Resolver, host: str, port: int, budget: Budget) -> list[Address]:
    """The addresses of a host; a literal address is its own.

    Raises:
        FetchFailed: it has none; code fetch.unreachable. Or the budget is used up.
    """
    try:
        return [unwrapped(ip_address(host))]
    except ValueError:
        pass
    found = [unwrapped(ip_address(text)) for text in _asked(resolver, host, port, budget)]
    if not found:
        raise FetchFailed(f"{budget.about} cannot be reached: its host has no address", code="fetch.unreachable")
    return found


def _asked(resolver: Resolver, host: str, port: int, budget: Budget) -> Sequence[str]:
    # the system's resolver knows neither deadline nor cancellation, so it is left behind in its thread
    answers: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolver(host, port))
        except (OSError, UnicodeError):
            answers.put(())

    budget.left_s()
    threading.Thread(target=ask, name="locara-resolve", daemon=True).start()
    while True:
        try:
            return answers.get(timeout=min(budget.left_s(), POLL_S))
        except queue.Empty:
            continue


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, or translated by NAT64), else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """It can only lead to the internet: to no private network, to no service of this machine or its cloud."""
    address = unwrapped(address)
    if isinstance(address, IPv6Address) and (address not in _IPV6_UNICAST or not _isatap_end_is_public(address)):
        return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


def _isatap_end_is_public(address: IPv6Address) -> bool:
    if (int(address) >> 32) & 0xFDFF_FFFF != 0x5EFE:
        return True
    return is_public(IPv4Address(int(address) & 0xFFFFFFFF))


def may_be_named(address: Address) -> bool:
    """A host that the operator calls private may have this address; the others take their network to be named."""
    return not any(address in network for network in _NEVER_BY_NAME)
