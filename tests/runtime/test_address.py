"""Only public addresses are connected to, whatever spelling a name led to."""

import pytest

from runtime.address import PUBLIC_ONLY, AddressPolicy, AddressRefused

REFUSED = {
    "loopback": ["127.0.0.1", "127.8.8.8", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "fec0::1"],
    "carrier": ["100.64.0.1"],
    "link-local": ["169.254.0.1", "fe80::1", "fe80::1%eth0"],
    "metadata": ["169.254.169.254", "fd00:ec2::254"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "compatible": ["::127.0.0.1", "::169.254.169.254"],
    "nat64": ["64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::10.0.0.1"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:a00:1::"],
    "teredo": ["2001:0:7f00:1::"],
}
PUBLIC = ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("address", [each for kind in REFUSED.values() for each in kind])
def test_an_address_that_is_not_public_is_refused(address: str, encrypted: bool) -> None:
    with pytest.raises(AddressRefused, match="--allow_network opens it"):
        PUBLIC_ONLY.check(address, encrypted)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected_to_with_https_only(address: str) -> None:
    PUBLIC_ONLY.check(address, encrypted=True)
    with pytest.raises(AddressRefused, match="plain http"):
        PUBLIC_ONLY.check(address, encrypted=False)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.0.0/16", "::ffff:10.1.2.3"),
        ("10.1.0.0/16", "64:ff9b::10.1.2.3"),
        ("fd00:1::/32", "fd00:1::5"),
        ("8.8.8.0/24", "8.8.8.8"),
    ],
)
def test_an_opened_network_is_spoken_to_with_http_as_well(network: str, address: str) -> None:
    policy = AddressPolicy(allow_networks=("192.168.0.0/24", network))
    policy.check(address, encrypted=False)
    policy.check(address, encrypted=True)


@pytest.mark.parametrize("address", ["10.2.0.1", "127.0.0.1", "fd00::1"])
def test_an_opened_network_opens_nothing_beside_it(address: str) -> None:
    with pytest.raises(AddressRefused, match="is no public address"):
        AddressPolicy(allow_networks=("10.1.0.0/16",)).check(address, encrypted=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_allow_local_opens_loopback(address: str) -> None:
    AddressPolicy(allow_local=True).check(address, encrypted=False)


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_allow_local_opens_nothing_but_loopback(address: str) -> None:
    with pytest.raises(AddressRefused):
        AddressPolicy(allow_local=True).check(address, encrypted=True)


@pytest.mark.parametrize(
    ("policy", "allows"),
    [
        (PUBLIC_ONLY, False),
        (AddressPolicy(allow_local=True), True),
        (AddressPolicy(allow_networks=("10.0.0.0/8",)), True),
    ],
)
def test_plain_http_is_allowed_only_where_something_is_opened(
    policy: AddressPolicy, allows: bool
) -> None:
    assert policy.allows_plain_http is allows
