"""Which addresses are counted as one caller."""

import pytest

from newsletter.kit.callers import Callers


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_a_network_that_one_customer_has_is_one_caller(address: str, counted: str) -> None:
    assert Callers().of(address) == counted


def test_an_operator_chooses_how_much_of_an_address_counts() -> None:
    wide = Callers(ipv4_prefix=24, ipv6_prefix=48)
    assert wide.of("192.0.2.7") == wide.of("::ffff:192.0.2.200") == "192.0.2.0/24"
    assert wide.of("2001:db8:1:2::7") == wide.of("2001:db8:1:9::") == "2001:db8:1::/48"
