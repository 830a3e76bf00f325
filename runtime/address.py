"""Which network addresses a partner may have: the public ones, and what the operator opened."""

import ipaddress
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that was given out to the public so far (IANA, "IPv6 Address Space")."""


class AddressRefused(OSError):
    """The address that a host name led to may not be connected to."""


@dataclass(frozen=True)
class AddressPolicy:
    """Refuses loopback, private, link-local and metadata addresses, and plain http.

    An address within `allow_networks` may be connected to, with http as well; `allow_local` opens
    loopback in the same way, for tests.
    """

    allow_networks: tuple[str, ...] = ()
    allow_local: bool = False

    @property
    def allows_plain_http(self) -> bool:
        """Whether there is any address to which http may be spoken."""
        return self.allow_local or bool(self.allow_networks)

    def check(self, address: str, encrypted: bool) -> None:
        """Raise AddressRefused unless the policy allows to connect to the IP `address`."""
        ip = _unwrap(ipaddress.ip_address(address.partition("%")[0]))
        opened = (self.allow_local and ip.is_loopback) or any(
            ip in ipaddress.ip_network(network) for network in self.allow_networks
        )
        if opened:
            return
        if not encrypted:
            raise AddressRefused(f"plain http to {ip} is refused; --allow_network opens it")
        if not _is_public(ip):
            raise AddressRefused(f"{ip} is no public address; --allow_network opens it")


PUBLIC_ONLY = AddressPolicy()


def _is_public(ip: IPAddress) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False  # site-local and IPv4-compatible addresses pass as global
    return ip.is_global and not ip.is_multicast


def _unwrap(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for, where it stands for one."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
